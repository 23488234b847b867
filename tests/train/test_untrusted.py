"""Checkpoints that may come from anywhere: a clear error, bounded memory, nothing read outside, nothing run."""

import json
import os
import shutil
import struct
import subprocess
import sys

import pytest
import torch
from grounding_toys import config_for, frame_rows, query_rows, write_feature, z_spec, z_values
from safetensors.torch import load_file, save_file

from visual_thought import FeatureStore, load_run
from visual_thought.pipeline.errors import ConfigError, StoreMismatch, VisualThoughtError, WeightsError
from visual_thought.train.bounds import describe
from visual_thought.train.run import train


@pytest.fixture(scope="module")
def trained(toys_once, tmp_path_factory):
    return train(config_for(toys_once, str(tmp_path_factory.mktemp("runs") / "run"), steps=6, eval_freq=3)).run_dir


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run", symlinks=True)


def again(toys, run):
    """Resume the run."""
    return train(config_for(toys, str(run), steps=6, eval_freq=3, resume=True))


def rewrite(folder, changed=(), *, seal=True):
    """Change JSON files of a checkpoint and, if sealed, its list, as somebody would who means it."""
    for name, change in dict(changed).items():
        data = json.loads((folder / name).read_text())
        change(data)
        (folder / name).write_text(json.dumps(data))
    if seal:
        files = [path for path in folder.rglob("*") if path.is_file() and path.name != "files.json"]
        said = {str(path.relative_to(folder)): describe(path.read_bytes()) for path in files}
        (folder / "files.json").write_text(json.dumps(said))


def test_every_checkpoint_folder_reloads_itself_wherever_it_lies(toys_once, trained, tmp_path):
    store = FeatureStore.open(toys_once / "store")
    for number, source in enumerate((trained / "last", trained / "best", trained / "checkpoints" / "000003")):
        copy = shutil.copytree(source, tmp_path / f"copy{number}")
        loaded, again = load_run(copy), load_run(source)
        assert loaded.head.step == int(source.resolve().name)
        assert list(loaded.contenders) == ["head", "instruction_blind", "linear_probe"]
        for name, one in loaded.contenders.items():
            pairs = zip(
                one.model.state_dict().values(), again.contenders[name].model.state_dict().values(), strict=True
            )
            assert all(torch.equal(*pair) for pair in pairs)
        assert loaded.record.fingerprints == load_run(trained).record.fingerprints
        assert set(loaded.features_in(store)) == {"z", "r"}


def test_a_control_may_have_fewer_tensors_than_the_decoder_has_layers(toys):
    decoder = {"dim": 8, "num_layers": 9, "num_heads": 2}
    run = train(config_for(toys, decoder=decoder, controls=["linear_probe"], steps=1)).run_dir
    assert set(load_run(run).contenders) == {"head", "linear_probe"}


def test_a_checkpoint_refuses_features_that_something_else_made(toys, tmp_path):
    options = {"features": {"z": "z"}, "head": {"dim": 16, "refine": False}, "controls": [], "steps": 1}
    done = train(config_for(toys, **options))
    store, rows = FeatureStore.create(tmp_path / "other"), query_rows(frame_rows(1, 2))
    write_feature(store, z_spec(numerics=2), rows, z_values(rows))
    with pytest.raises(StoreMismatch, match="numerics: 2 != 1") as caught:
        load_run(done.run_dir / "last").features_in(store)
    assert caught.value.exit_code == 4


def test_loading_and_resuming_run_nothing(toys_once, run):
    code = (
        "import sys, torch, pickle\n"
        "import visual_thought.train.run, visual_thought.train.tasks.ground\n"
        "from visual_thought import load_run\n"
        "from grounding_toys import config_for\n"
        "from pathlib import Path\n"
        "def refuse(*a, **k): raise SystemExit('something was unpickled')\n"
        "class Refusing(pickle.Unpickler):\n"
        "    def __init__(self, *a, **k): refuse()\n"
        "pickle.load, pickle.loads, pickle.Unpickler, torch.load = refuse, refuse, Refusing, refuse\n"
        f"load_run({str(run)!r}); load_run({str(run / 'last')!r})\n"
        f"config = config_for(Path({str(toys_once)!r}), {str(run)!r}, steps=6, eval_freq=3, resume=True)\n"
        "visual_thought.train.run.train(config); print('loaded')\n"
    )
    here = {"PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | here)
    assert done.stdout.strip() == "loaded", done.stderr


def section(which, **values):
    return lambda data: data["config"][which].update(values)


def feature(which, **values):
    return lambda data: data["features"][which].update(values)


CONFIGS = {
    "a_billion_layers": section("decoder", num_layers=10**9),
    "no_layers": section("decoder", num_layers=0),
    "wide": section("decoder", dim=2 * 10**9),
    "a_number_past_all": section("decoder", dim=10**30),
    "negative": section("decoder", dim=-16),
    "no_heads": section("decoder", num_heads=0),
    "a_text": section("decoder", dim="16"),
    "dropout_of_7": section("decoder", dropout=7.0),
    "a_huge_grid": feature("z", layout={"grid": [1 << 20, 1 << 20], "prefix": 1, "text": 2}),
    "another_layout": feature("z", layout={"grid": [0, 3], "prefix": 1, "text": 2}),
    "a_shape_of_words": feature("z", shape=["12", "8"]),
    "no_shape": feature("z", shape=[]),
    "more_fields": feature("z", more=1),
    "another_head": section("head", name="os:system"),
    "another_task": lambda data: data["config"].update(task="../ground"),
    "no_features": lambda data: data.update(features={}),
    "no_config": lambda data: data.update(config=[]),
    "a_control_above": lambda data: data["config"].update(controls=["../../last/model"]),
    "newer": lambda data: data.update(schema=99),
    "deep": lambda data: data["config"].update(head=json.loads("[" * 900 + "]" * 900)),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_that_cannot_be_meant_is_refused_before_it_costs_memory(run, name):
    folder = (run / "last").resolve()
    rewrite(folder, {"config.json": CONFIGS[name]})
    with pytest.raises(VisualThoughtError) as caught:
        load_run(run / "last")
    assert caught.value.exit_code in (2, 3)


def replaced(tensors, **others):
    return {name: others.get(name.replace(".", "_"), value) for name, value in tensors.items()}


WEIGHTS = {
    "a_tensor_more": lambda tensors: tensors | {"more": torch.zeros(1)},
    "a_tensor_less": lambda tensors: dict(list(tensors.items())[1:]),
    "another_shape": lambda tensors: {name: value[None] for name, value in tensors.items()},
    "another_type": lambda tensors: {name: value.double() for name, value in tensors.items()},
}


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("file", ["model.safetensors", "controls/linear_probe.safetensors"])
def test_weights_that_the_config_does_not_make_are_refused_by_name(run, name, file):
    folder = (run / "last").resolve()
    save_file(WEIGHTS[name](load_file(folder / file)), folder / file)
    rewrite(folder)
    with pytest.raises(WeightsError, match="the weights of another model"):
        load_run(run, "last")


HEADERS = {
    "no_header": b"",
    "a_header_of_exabytes": struct.pack("<Q", 1 << 60) + b"{}",
    "not_json": struct.pack("<Q", 4) + b"abcd",
    "a_pickle": b"\x80\x04cos\nsystem\n(S'echo'\ntR.",
    "beyond_its_end": struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}     ',
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("file", ["model.safetensors", "training_state/head.safetensors"])
def test_a_file_that_is_no_safetensors_is_refused(toys_once, run, name, file):
    for folder in (run / "checkpoints").iterdir():
        (folder / file).write_bytes(HEADERS[name])
        rewrite(folder)
    use = again if file.startswith("training_state") else load_run
    with pytest.raises(WeightsError):
        use(run) if use is load_run else use(toys_once, run)


@pytest.mark.parametrize("change", ["larger", "stranger", "unnamed"])
def test_the_state_of_another_optimiser_is_refused(toys_once, run, change):
    for folder in (run / "checkpoints").iterdir():
        file = folder / "training_state" / "head.safetensors"
        tensors = load_file(file)
        name = next(name for name in tensors if tensors[name].ndim == 2)
        more = {"larger": {name: tensors[name].repeat(3, 3)}, "stranger": {f"{name}.x": tensors[name].clone()}}
        save_file(tensors | more.get(change, {"exp_avg": tensors[name].clone()}), file)
        rewrite(folder)
    with pytest.raises(WeightsError, match="another optimiser"):
        again(toys_once, run)


@pytest.mark.parametrize("name", ["../../../secret", "/etc/hostname", "a/../../b", ".", "", "a\0b"])
def test_a_list_that_names_a_file_outside_is_refused(run, name):
    folder = (run / "last").resolve()
    rewrite(folder, {"files.json": lambda data: data.update({name: {"bytes": 1, "sha256": "0" * 64}})}, seal=False)
    with pytest.raises(WeightsError, match="names a file outside the checkpoint"):
        load_run(run, "last")


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"config.json": 1}', '{"config.json": {"bytes": true, "sha256": 1}}', "[" * 9999]
)
def test_a_list_that_is_none_is_refused(run, text):
    (run / "last" / "files.json").write_text(text)
    with pytest.raises(WeightsError, match="damaged"):
        load_run(run, "last")


@pytest.mark.parametrize("make", ["pipe", "folder", "device"])
@pytest.mark.parametrize("name", ["config.json", "files.json", "model.safetensors", "steps.json"])
def test_what_is_no_file_is_not_waited_for(run, make, name):
    path = run / "last" / name
    path.unlink()
    if make == "pipe":
        os.mkfifo(path)
    elif make == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    for place in ((run, "last"), (run / "last", "best")):
        with pytest.raises(VisualThoughtError):
            load_run(*place)


def test_a_file_that_is_larger_than_it_says_is_not_read(run):
    path = run / "last" / "model.safetensors"
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # a terabyte of nothing
    with pytest.raises(WeightsError, match="not what was written"):
        load_run(run, "last")


@pytest.mark.parametrize("where", ["outside", "beside"])
def test_a_link_that_leads_out_of_the_run_is_no_checkpoint(trained, run, tmp_path, where):
    target = trained / "checkpoints" / "000006" if where == "outside" else shutil.copytree(run / "last", run / "000006")
    (run / "last").unlink()
    (run / "last").symlink_to(target)
    with pytest.raises(ConfigError, match="no checkpoint 'last'"):
        load_run(run, "last")


@pytest.mark.parametrize("name", ["../run2/checkpoints/000006", "checkpoints/000006", "/", "..", "", "-1", "best/"])
def test_a_checkpoint_is_named_and_no_path(trained, run, tmp_path, name):
    shutil.copytree(trained, tmp_path / "run2", symlinks=True)
    with pytest.raises(ConfigError, match="no checkpoint"):
        load_run(run, name)


def test_a_checkpoint_of_a_run_on_other_features_is_refused_field_by_field(toys_once, run):
    for folder in (run / "checkpoints").iterdir():
        rewrite(folder, {"config.json": lambda data: data["features"]["z"]["compute"].update(numerics=7)})
    for load in (
        lambda: load_run(run),
        lambda: again(toys_once, run),
    ):
        with pytest.raises(StoreMismatch, match=r"z\.numerics: 7 != 1") as caught:
            load()
        assert caught.value.exit_code == 4


def test_a_checkpoint_of_a_run_of_another_task_is_refused(toys_once, run):
    for folder in (run / "checkpoints").iterdir():
        rewrite(folder, {"config.json": lambda data: data.update(task="distill")})
    for load in (
        lambda: load_run(run),
        lambda: again(toys_once, run),
    ):
        with pytest.raises(WeightsError, match=r"of another task[\s\S]*found: +distill[\s\S]*expected: +ground"):
            load()
