"""Several backbones, several sizes of batches, long datasets: one pass over the videos, the same numbers."""

import json
import os
import subprocess
import sys
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from visual_thought.extract.backbones.base import BackboneKind, FrameBatch
from visual_thought.extract.config import BackboneConfig
from visual_thought.extract.dataset import Dataset
from visual_thought.extract.decode import Frame
from visual_thought.extract.plan import plan
from visual_thought.extract.run import extract
from visual_thought.extract.stream import Pace, stream
from visual_thought.extract.work import schedule
from visual_thought.pipeline import registry
from visual_thought.pipeline.cli import run
from visual_thought.pipeline.datasets.world.checkpoints import write_checkpoint
from visual_thought.pipeline.errors import ConfigError
from visual_thought.pipeline.interrupt import Stop
from visual_thought.pipeline.spec import FeatureSpec, ImageSpec, TokenLayout
from visual_thought.pipeline.store import FeatureStore, plan_array

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Means:
    """A real, tiny backbone: the mean colour of a frame, and that times the length of the instruction."""

    def __init__(self, specs, device):
        self.specs, self.device = tuple(specs), device

    def encode_frames(self, pixels):
        colour = pixels.double().mean(dim=(2, 3)).float()  # (b, 3)
        found = {"colour": colour[:, None, None]} if "colour" in [spec.name for spec in self.specs] else {}
        return FrameBatch(found, colour)

    def encode_queries(self, state, instructions):
        length = torch.tensor([float(len(text)) for text in instructions])
        return {"said": (state * length[:, None])[:, None]}


def describe_means(checkpoint, *, features, dtype, image_size, frame_size, options, **_):
    image = ImageSpec(*(image_size or frame_size), "squash")
    compute = {"backbone": "means", "weights": checkpoint, "gain": options.get("gain", 1)}
    compute |= {"image": [image.height, image.width], "dtype": dtype}
    made = {
        "colour": FeatureSpec("colour", "frame", (1, 1, 3), TokenLayout((1, 1)), image, dtype, compute),
        "said": FeatureSpec("said", "query", (1, 3), TokenLayout((1, 1)), image, dtype, compute | {"text": 1}),
    }
    return tuple(made[name] for name in features)


def load_means(checkpoint, specs, *, device, **_):
    return Means(specs, device)


MEANS = BackboneKind(describe_means, load_means, ("colour", "said"), {"gain": 1})


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(registry.BACKBONES, "means", f"{__name__}:MEANS")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """An X-VLA of other weights."""
    return write_checkpoint(tmp_path_factory.mktemp("other") / "xvla", pretrained=False, seed=1)


@pytest.fixture
def asked(config, xvla, other):
    """An extraction with three backbones, of two input sizes."""
    backbones = (
        BackboneConfig("xvla", str(xvla), features=("z", "r"), image_size=(28, 28)),
        BackboneConfig("xvla", str(other), features=("r",), image_size=(28, 28)),
        BackboneConfig("means", "none", options={"gain": 2}),
    )
    return config(backbones=backbones, features=("colour", "said"))


def test_one_pass_over_the_videos_gives_what_one_pass_for_each_backbone_gives(asked, tmp_path, contents, monkeypatch):
    decoded, decode = Counter(), Dataset.decode

    def counting(self, frames):
        wanted = list(frames)
        decoded.update(wanted)
        return decode(self, wanted)

    monkeypatch.setattr(Dataset, "decode", counting)
    done = extract(asked)
    assert [feature.name for feature in done.features] == ["z", "r", "r", "colour", "said"]
    assert len({feature.key for feature in done.features}) == 5
    assert set(decoded.values()) == {1}
    assert done.frames == len(decoded) == 135
    for backbone in asked.backbones:
        extract(replace(asked, backbones=(backbone,), store=tmp_path / "one by one"))
    assert contents(asked.store) == contents(tmp_path / "one by one")


def test_only_backbones_that_owe_something_are_loaded_and_run(asked, monkeypatch, contents):
    extract(asked)
    before = contents(asked.store)
    for path in asked.store.glob("receipts/*/colour-*/000001.json"):
        path.unlink()
    monkeypatch.setattr("visual_thought.extract.backbones.xvla._load_vlm", pytest.fail)
    done = extract(asked)
    assert [feature.parts_written for feature in done.features] == [0, 0, 0, 1, 0]
    assert contents(asked.store) == before


def test_what_two_backbones_would_make_alike_is_made_once(config, xvla):
    twice = (BackboneConfig("xvla", str(xvla), features=("r",)), BackboneConfig("xvla", str(xvla)))
    planned = plan(config(backbones=twice))
    assert [spec.name for spec in planned.specs] == ["r", "z"]


def test_the_size_of_the_frames_reaches_the_backbone(config):
    planned = plan(config(backbones=(BackboneConfig("means", "none"),), features=None))
    assert (planned.specs[0].image.height, planned.specs[0].image.width) == (48, 64)
    assert [spec.name for spec in planned.specs] == ["colour", "said"]


@pytest.mark.parametrize(
    ("backbones", "features", "said"),
    [
        ((BackboneConfig("means", "none"),), ("z",), "none of the backbones makes a feature 'z'"),
        ((BackboneConfig("means", "a"), BackboneConfig()), ("colour",), "nothing was asked of the backbone xvla"),
        ((BackboneConfig("mean", "none"),), None, "there is no backbone 'mean'"),
    ],
)
def test_features_and_backbones_that_do_not_fit_are_refused(config, backbones, features, said):
    with pytest.raises(ConfigError, match=said):
        plan(config(backbones=backbones, features=features))


@pytest.mark.slow
def test_the_command_in_a_receipt_makes_the_same_store(asked, tmp_path, contents, monkeypatch, capsys):
    asked = replace(asked, store_format="hdf5", batch_size="auto")
    extract(asked)
    receipt = json.loads(next(asked.store.glob("receipts/*/colour-*/000000.json")).read_text())
    command = receipt["info"]["command"]
    assert "--store-format hdf5" in command
    assert f"--batch-size {receipt['info']['batch_size']}" in command
    words = [word.replace(str(asked.store), str(tmp_path / "again")) for word in _split(command)]
    assert run([*words[1:], "--device", "cpu", "--json"]) == 0
    capsys.readouterr()
    assert contents(tmp_path / "again") == contents(asked.store)


def test_the_command_line_takes_several_backbones(manifest, xvla, tmp_path, capsys):
    line = [
        "extract",
        str(manifest()),
        "--store",
        str(tmp_path / "store"),
        "--plan",
        "--json",
        "--features",
        "r,colour",
    ]
    assert run([*line, "--backbone", f"{xvla}?image_size=28x28", "--backbone", "means=none?gain=3"]) == 0
    features = json.loads(capsys.readouterr().out)["features"]
    assert [feature["name"] for feature in features] == ["r", "colour"]
    assert features[0]["shape"][:2] == [2, 2]
    assert run([*line, "--backbone", "xvla=", "--backbone", "means=none"]) == 2
    assert run([*line, "--backbone", "means=a", "--backbone", "means=b", "--revision", "main"]) == 2


@pytest.mark.slow
def test_auto_chooses_a_size_once_and_unfinished_arrays_keep_it(config, contents, tmp_path):
    asked = config(batch_size="auto")
    extract(asked)
    sizes = {json.loads(path.read_text())["info"]["batch_size"] for path in asked.store.glob("receipts/*/*/*.json")}
    (size,) = sizes
    before = contents(asked.store)
    for path in asked.store.glob("receipts/*/z-*/000000.json"):
        path.unlink()
    extract(asked)
    assert contents(asked.store) == before
    begun = config(batch_size=3, store=tmp_path / "begun", features=("r",))
    extract(begun)
    next(begun.store.glob("receipts/*/r-*/000001.json")).unlink()
    extract(replace(begun, batch_size="auto"))
    (path,) = begun.store.glob("receipts/*/r-*/000001.json")
    assert json.loads(path.read_text())["info"]["batch_size"] == 3 != size


def test_a_measured_plan_says_how_long_it_would_take_and_leaves_nothing(config, manifest, xvla, tmp_path, capsys):
    line = ["extract", str(manifest()), "--store", str(tmp_path / "store"), "--backbone", f"{xvla}?image_size=28x28"]
    before = set(tmp_path.iterdir())
    assert run([*line, "--plan", "--measure", "--device", "cpu", "--json"]) == 0
    estimate = json.loads(capsys.readouterr().out)["estimate"]
    assert estimate["frames"] == 135
    assert estimate["sample_frames"] == 64
    rate = estimate["sample_frames"] / estimate["sample_s"]
    assert estimate["estimated_s"] == pytest.approx(estimate["load_s"] + 135 / rate)
    assert estimate["bound_by"] in ("decode", "forward", "write")
    assert set(tmp_path.iterdir()) == before
    assert run([*line, "--measure"]) == 2
    assert run([*line, "--plan", "--measure", "--device", "cpu"]) == 0
    assert "frames at" in capsys.readouterr().out


def test_a_plan_imports_no_model_class(manifest, xvla, tmp_path):
    code = (
        "import sys; from visual_thought.pipeline.cli import run; code = run(sys.argv[1:]); "
        "loaded = [name for name in sys.modules if name.startswith(('lerobot.policies', 'transformers.models.'))]; "
        "sys.exit(f'loaded {loaded}' if loaded else code)"
    )
    words = ["extract", str(manifest()), "--store", str(tmp_path / "s"), "--backbone", str(xvla), "--plan"]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "cache" / "visual-thought").glob("*.sha256"))  # the weights' hash is remembered


@pytest.mark.slow
def test_memory_does_not_grow_with_the_dataset(tmp_path):
    small, large = 2_000, 20_000
    held = {rows: peak_bytes(tmp_path / str(rows), rows) for rows in (500, small, large)}  # the first warms up
    assert (held[large] - held[small]) / (large - small) < 100  # bytes a further row, of features with 6 kB a row


def peak_bytes(folder: Path, rows: int) -> int:
    """The most that Python and NumPy hold while a dataset of so many frames is streamed."""
    image = ImageSpec(4, 4)
    spec = FeatureSpec("colour", "frame", (1, 1, 3), TokenLayout((1, 1)), image, "fp32", {"backbone": "means"})
    frames = frame_rows(rows)
    store = FeatureStore.create(folder)
    arrays = plan_array(store, spec, frames)

    def decode(wanted):
        for frame in wanted:
            yield Frame(frame.frame / 10, np.full((4, 4, 3), frame.frame % 256, np.uint8), "0" * 64)

    tracemalloc.start()
    try:
        work = schedule(arrays, frames, None, 16)
        backbones = [Means([spec], torch.device("cpu"))]
        stream(work, backbones, store=store, decode=decode, origin={}, pace=Pace(16), stop=Stop())
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def frame_rows(rows):
    import pyarrow as pa

    number = np.arange(rows)
    columns = {
        "repo_id": pa.array(["lab/long"] * rows),
        "revision": pa.array(["1"] * rows),
        "episode_index": number // 100,
        "frame_index": number % 100,
        "camera": pa.array(["main"] * rows),
        "timestamp_s": number % 100 / 10,
    }
    return pa.table(columns)


def _split(command):
    import shlex

    return shlex.split(command)
