"""Nothing in the package reads a format that can run code, and the libraries are new enough not to either."""

import ast
import importlib.metadata
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from .processes import run
from .toys import FORMAT_NAMES, filled_store

ROOT = Path(__file__).parents[3]
FOLDERS = ("pipeline", "extract", "train", "evaluate")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

MODULES = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
YAML = {"load", "load_all", "unsafe_load", "unsafe_load_all", "full_load", "full_load_all"}
LOADERS = {"UnsafeLoader", "FullLoader", "CLoader", "CUnsafeLoader", "CFullLoader", "Pickle"}


def dotted(node):
    """``a.b.c`` of an expression, as far as it is one."""
    names = []
    while isinstance(node, ast.Attribute):
        names, node = [node.attr, *names], node.value
    return ".".join([node.id, *names] if isinstance(node, ast.Name) else ["?", *names])


def has_true(call, name):
    return any(word.arg == name and getattr(word.value, "value", None) is True for word in call.keywords)


def dangers(tree):
    """Everything in a module that could run what it reads, as (line, what)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from ((node.lineno, name) for name in names if name.split(".")[0] in MODULES or name in LOADERS)
        elif isinstance(node, ast.Attribute) and node.attr in LOADERS | {"object_", "allow_pickle"}:
            yield node.lineno, dotted(node)
        elif isinstance(node, ast.Call):
            yield from dangers_of_call(node)


def dangers_of_call(call):
    name = dotted(call.func)
    last = name.split(".")[-1]
    if name in BUILTINS:
        yield call.lineno, name
    if name.startswith("torch.") and last == "load" and not has_true(call, "weights_only"):
        yield call.lineno, f"{name} without weights_only=True"
    if name.startswith("yaml.") and last in YAML:
        yield call.lineno, name
    for word in call.keywords:
        if word.arg in ("allow_pickle", "trust_remote_code") and getattr(word.value, "value", None) is not False:
            yield call.lineno, f"{name}({word.arg}=…)"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_reads_what_can_run_code(path):
    assert list(dangers(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import torch\ntorch.load('x')",
        "import torch\ntorch.load('x', weights_only=False)",
        "import yaml\nyaml.load(text)",
        "import yaml\nyaml.unsafe_load(text)",
        "from yaml import UnsafeLoader",
        "import yaml\nyaml.load(text, Loader=yaml.SafeLoader)",
        "eval(text)",
        "from numcodecs import Pickle",
        "import numcodecs\nnumcodecs.Pickle()",
        "Model.from_pretrained('x', trust_remote_code=True)",
    ],
)
def test_the_test_sees_what_can_run_code(text):
    assert list(dangers(ast.parse(text)))


@pytest.mark.parametrize("store_format", FORMAT_NAMES)
def test_reading_a_store_loads_no_codec_that_unpickles(tmp_path, store_format):
    filled_store(tmp_path / "store", store_format=store_format)
    said = run("unpickling.py", tmp_path / "store").split()
    assert said == ["read"]


FLOORS = {"zarr": "3.4", "numcodecs": "0.17.1", "torch": "2.11", "transformers": "5.4", "h5py": "3.14", "pyarrow": "21"}


def requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {one.name: one for one in map(Requirement, project["dependencies"])}


@pytest.mark.parametrize("name", FLOORS)
def test_the_floors_of_libraries_that_read_files_stand_in_the_project(name):
    """Below them, a file could run code or reach out of itself."""
    assert any(bound.operator == ">=" and bound.version == FLOORS[name] for bound in requirements()[name].specifier)


@pytest.mark.parametrize("name", sorted(requirements()))
def test_what_is_installed_is_within_the_project_s_bounds(name):
    found = importlib.metadata.version(name)
    assert requirements()[name].specifier.contains(found, prereleases=True), f"{name} {found}"
