"""The house itself: who imports whom, what ships, and which names are public."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import visual_thought
from visual_thought.pipeline import registry

ROOT = Path(__file__).parents[1]
STAGES = ("pipeline", "extract", "train", "evaluate")
ALLOWED = {
    "pipeline": {"pipeline"},
    "extract": {"extract", "pipeline"},
    "train": {"train", "pipeline"},
    "evaluate": {"evaluate", "extract", "train", "pipeline"},
}
COMMANDS = ROOT / "pipeline" / "commands"  # the only place of `pipeline` that may reach for a stage, inside functions


def sources(stage: str) -> list[Path]:
    return sorted((ROOT / stage).rglob("*.py"))


def imported(path: Path) -> list[tuple[str, int]]:
    """Every module a file imports, absolute, with the depth of the statement (0: at the top of the file)."""
    tree = ast.parse(path.read_text())
    depth = {id(node): 0 for node in tree.body}
    found = []
    for node in ast.walk(tree):
        level = depth.get(id(node), 1)
        if isinstance(node, ast.Import):
            found += [(alias.name, level) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = ["visual_thought", *path.relative_to(ROOT).parts[:-1]]
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            found += [(".".join([*module, alias.name]), level) for alias in node.names]
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_only_what_lies_below_it(stage: str) -> None:
    for path in sources(stage):
        for name, level in imported(path):
            parts = name.split(".")
            if parts[0] != "visual_thought" or len(parts) < 2 or parts[1] not in STAGES:
                continue
            in_command = COMMANDS in path.parents and level > 0
            assert parts[1] in ALLOWED[stage] or in_command, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("package", ["lerobot", "transformers"])
def test_training_never_imports_a_backbone_or_a_dataset_library(package: str) -> None:
    for path in sources("train"):
        assert all(name.split(".")[0] != package for name, _ in imported(path)), path


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys; from visual_thought.pipeline.cli import run; code = run(['--help']); "
        "heavy = {'torch', 'lerobot', 'transformers', 'zarr', 'numpy', 'pyarrow'} & set(sys.modules); "
        "sys.exit(f'loaded {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("demo", "world", "extract", "train", "eval", "store", "bench"):
        assert command in done.stdout


def test_the_editable_links_and_the_wheel_hold_the_same_names() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shipped = set(config["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"])
    links = {path.name: path for path in (ROOT / ".src" / "visual_thought").iterdir() if path.name != "__pycache__"}
    assert set(links) == shipped
    for name, link in links.items():
        assert link.is_symlink(), name
        assert link.resolve() == ROOT / name


def test_every_public_name_loads_and_no_other_does() -> None:
    for name in visual_thought.__all__:
        assert getattr(visual_thought, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Trainer'"):
        _ = visual_thought.Trainer


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, table in registry.TABLES.items() for name in table])
def test_every_line_of_the_registry_leads_somewhere(kind: registry.Kind, name: str) -> None:
    assert registry.load(kind, name) is not None


def test_nothing_reads_the_environment_outside_the_command_line() -> None:
    for stage in STAGES:
        for path in sources(stage):
            if path.name == "cli.py" or COMMANDS in path.parents:
                continue
            text = path.read_text()
            assert "os.environ" not in text, path
            assert "getenv" not in text, path


def test_no_file_reaches_for_pickle_but_the_converter_in_its_own_process() -> None:
    for stage in STAGES:
        for path in sources(stage):
            names = {name.split(".")[0] for name, _ in imported(path)}
            assert not names & {"pickle", "dill", "joblib", "shelve"}, path
            loads = [line for line in path.read_text().splitlines() if "torch.load(" in line]
            allowed = path.parts[-2:] == ("cedirnet", "convert.py") and all(
                "weights_only=True" in line for line in loads
            )
            assert not loads or allowed, path
