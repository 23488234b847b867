"""Parity of every task and storage tier, on features that small real backbones made."""

import json
import shutil
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from visual_thought.evaluate.config import EvalConfig
from visual_thought.evaluate.run import evaluate
from visual_thought.pipeline.cli import run
from visual_thought.pipeline.manifest import load_manifest
from visual_thought.pipeline.store.conversion import Target
from visual_thought.pipeline.store.convert import convert
from visual_thought.train.run import train

from ..toy_run import train_config, write_manifest
from .conftest import rewrite_record, rewritten

sys.path.append(str(Path(__file__).parents[2] / "train"))
from expert_toys import expert_config

TARGET = {"distill": "e", "dense": "y"}
MAKER = {"distill": "dinov2", "dense": "cedirnet"}
TEST_FRAMES = 20
BY_HEART = {
    "steps": 80,
    "eval_freq": 80,
    "optimizer": {"lr": 3e-3},
    "objective": {"positive_weight": 3.0},
    "controls": [],
    "decoder": {"dim": 32, "num_layers": 1, "num_heads": 2, "dropout": 0.0},
}
"""A head that knows its training frames; there is nothing else to learn in them."""


@dataclass(frozen=True)
class Study:
    """store/ with z, e and y, their weights, and a run of each task in one folder."""

    folder: Path

    def run(self, task: str) -> Path:
        return self.folder / task

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def weights(self, task: str) -> Path:
        return self.folder / "weights" / MAKER[task]


@pytest.fixture(scope="module")
def study(lab, tmp_path_factory) -> Study:
    """Never write into it."""
    from visual_thought.extract.config import ExtractConfig
    from visual_thought.extract.naming import parse_backbone
    from visual_thought.extract.run import extract
    from visual_thought.pipeline.datasets.world.dinov2 import write_dinov2

    made = Study(tmp_path_factory.mktemp("study"))
    manifest = write_manifest(made.folder, root=str(lab.dataset), labels=None)
    write_dinov2(made.weights("distill"))
    write_cedirnet(made.weights("dense"))
    words = (
        f"{lab.weights}?features=z&image_size=64x64",
        f"dinov2={made.weights('distill')}?image_size=56x56",
        f"cedirnet={made.weights('dense')}?image_size=64x64&pool=4",
    )
    backbones = tuple(map(parse_backbone, words))
    extract(ExtractConfig(manifest, made.store, backbones, features=None, device="cpu", progress=False))
    for task in TARGET:
        train(expert_config(task, made.folder, task, manifest=str(manifest), controls=[]))
    return made


def write_cedirnet(folder):
    """A narrow CeDiRNet with random weights."""
    from visual_thought.extract.backbones.cedirnet.network import CeDiRNetDetector, DetectorShape

    shape = DetectorShape((16, 32, 64, 128), (1, 1, 1, 1), widths=(32, 32, 32))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CeDiRNetDetector(shape)
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {"kind": "cedirnet-3dof", "detector": asdict(shape), "localiser": False}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def computed_in(lab, tmp_path_factory):
    """``computed_in(dtype)``: a folder as the lab's, with few cells and features of that type. Never write into it."""
    from visual_thought.extract.config import ExtractConfig
    from visual_thought.extract.run import extract

    @cache
    def make(dtype):
        folder = tmp_path_factory.mktemp(dtype)
        shutil.copy(lab.folder / "labels.parquet", folder)
        manifest = write_manifest(folder, root=str(lab.dataset))
        backbone = {"checkpoint": str(lab.weights), "image_size": (64, 64), "dtype": dtype}
        extract(ExtractConfig(manifest, folder / "store", device="cpu", progress=False, **backbone))
        train(train_config(folder, **BY_HEART))
        return folder

    return make


@contextmanager
def other_kernels():
    """Other code for convolutions and matrix products, as on another machine."""
    used, torch.backends.mkldnn.enabled = torch.backends.mkldnn.enabled, False
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = used


@pytest.fixture
def parity(capsys):
    """``parity(run, *options)``: the exit code of ``vtt eval RUN --parity``, and what it says."""

    def ask(run_dir, *options, rows=TEST_FRAMES):
        code = run(["eval", str(run_dir), "--parity", str(rows), *map(str, options)])
        said = capsys.readouterr()
        return code, said.out + said.err

    return ask


@pytest.fixture
def compared(parity):
    """``compared(run, *options)``: what a comparison found, where nothing is outside tolerance."""

    def compare(run_dir, *options):
        code, said = parity(run_dir, "--json", *options)
        assert code == 0, said
        told = json.loads(said)
        assert told["holds"]
        for feature in told["features"].values():
            assert feature["tolerance"]["cosine"] <= feature["cosine"] <= 1
            assert 0 <= feature["relative"] <= feature["tolerance"]["absolute"]
        return told

    return compare


@pytest.mark.parametrize("task", TARGET)
def test_a_run_of_frames_is_compared_in_all_that_it_reads_and_by_the_error_that_an_evaluation_reports(
    study, compared, tmp_path, task
):
    told = compared(study.run(task))
    assert {name: one["rows"] for name, one in told["features"].items()} == {
        "z": TEST_FRAMES,
        TARGET[task]: TEST_FRAMES,
    }
    report = evaluate(EvalConfig((study.run(task),), tmp_path / "out", figures=False, device="cpu"))
    expected = report.runs[0].contenders[0].scores.to_json()["mse"]
    assert told["best_by"] == "mse"
    assert told["stored"]["mse"] == pytest.approx(expected, rel=1e-5)
    assert told["live"]["mse"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("task", TARGET)
def test_another_machines_rounding_is_within_tolerance_and_the_error_hardly_moves(study, compared, task):
    with other_kernels():
        told = compared(study.run(task))
    assert told["live"]["mse"] == pytest.approx(told["stored"]["mse"], rel=0.01)


@pytest.mark.parametrize("task", TARGET)
def test_a_target_of_other_frames_ends_with_exit_code_3_and_is_told_from_what_the_head_reads(
    study, parity, tmp_path, task
):
    broken = rewritten(study.store, tmp_path / "broken", TARGET[task], lambda rows: rows.roll(1, 0))
    code, said = parity(study.run(task), "--store", broken)
    assert code == 3
    assert f"OUTSIDE tolerance: {TARGET[task]}, furthest off in episode 2" in said
    assert "z, furthest" not in said
    assert "mse of the head on these: " in said


@pytest.mark.parametrize("task", TARGET)
def test_damaged_rows_of_the_target_are_found_before_anything_is_compared(study, parity, tmp_path, task):
    store = shutil.copytree(study.store, tmp_path / "store")
    (file,) = store.glob(f"arrays/*/{TARGET[task]}-*.zarr/c*")
    data = bytearray(file.read_bytes())
    for at in range(0, len(data) - 4096, 512):  # every row, not the index behind them
        data[at] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    code, said = parity(study.run(task), "--store", store)
    assert code == 3
    assert f"{TARGET[task]}-" in said
    assert "OUTSIDE" not in said


@pytest.mark.parametrize("task", TARGET)
def test_other_weights_of_the_targets_backbone_are_a_mismatch_that_names_their_file(study, parity, tmp_path, task):
    other = shutil.copytree(study.weights(task), tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    name = sorted(tensors)[0]
    save_file(tensors | {name: tensors[name] + 1e-3}, other / "model.safetensors", {"format": "pt"})
    code, said = parity(study.run(task), "--backbone", f"{MAKER[task]}={other}")
    assert code == 4
    assert f"does not make the feature {TARGET[task]}" in said
    assert "weights.model.safetensors: " in said


@pytest.mark.parametrize("task", TARGET)
def test_weights_that_moved_are_compared_with_the_settings_that_the_run_recorded(study, compared, tmp_path, task):
    moved = shutil.copytree(study.weights(task), tmp_path / "moved")
    told = compared(study.run(task), "--backbone", f"{MAKER[task]}={moved}")
    assert told["features"][TARGET[task]]["rows"] == TEST_FRAMES


@pytest.mark.parametrize(("task", "options"), [("distill", ""), ("dense", "?image_size=64x64&pool=4")])
def test_a_run_that_does_not_say_what_made_its_features_is_told(study, lab, compared, parity, tmp_path, task, options):
    run_dir = shutil.copytree(study.run(task), tmp_path / task, symlinks=True)
    rewrite_record(run_dir, made_by={})
    xvla = ["--backbone", f"xvla={lab.weights}"]
    code, said = parity(run_dir, *xvla)
    assert code == 3
    assert f"--backbone {MAKER[task]}=CHECKPOINT" in said
    assert compared(run_dir, *xvla, "--backbone", f"{MAKER[task]}={study.weights(task)}{options}")


@pytest.mark.parametrize("dtype", ["bf16", pytest.param("fp32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("tier", ["bf16", "fp32", "int8"])
def test_a_ground_run_agrees_with_its_backbone_in_every_tier_and_on_other_kernels(
    computed_in, compared, tmp_path, dtype, tier
):
    folder = computed_in(dtype)
    store = in_tier(folder, tmp_path / "store", tier)
    for kernels in (nullcontext, other_kernels):
        with kernels():
            told = compared(folder / "run", "--split", "train", "--checkpoint", "last", "--store", store)
        assert [(name, one["tier"], one["dtype"]) for name, one in sorted(told["features"].items())] == [
            ("r", tier, dtype),
            ("z", tier, dtype),
        ]
        assert told["best_by"] == "f_0_25"
        assert told["stored"]["f_0_25"] > 0.3
        assert told["live"]["f_0_25"] == pytest.approx(told["stored"]["f_0_25"], abs=0.1)
        if kernels is nullcontext:
            assert all(one["equal"] > 0 for one in told["features"].values())


@pytest.mark.parametrize("tier", ["int8", "fp32"])
def test_rows_of_other_frames_are_found_in_every_tier_and_the_head_is_seen_to_suffer(
    computed_in, parity, tmp_path, tier
):
    folder = computed_in("bf16")
    for name in ("labels.parquet", "tiny.yaml"):
        shutil.copy(folder / name, tmp_path)
    rewritten(folder / "store", tmp_path / "store", "z", lambda rows: rows.roll(1, 0))
    store = in_tier(tmp_path, tmp_path / tier, tier)
    code, said = parity(folder / "run", "--split", "train", "--checkpoint", "last", "--store", store)
    assert code == 3
    assert float(said.split("change ")[1].split()[0]) > 0.1
    assert "OUTSIDE tolerance: z, furthest" in said
    assert "r, furthest" not in said


def in_tier(folder, path, tier):
    """The store of a folder, converted."""
    convert(folder / "store", path, Target(tier=tier), manifest=load_manifest(folder / "tiny.yaml"))
    return path
