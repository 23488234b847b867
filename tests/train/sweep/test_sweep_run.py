"""Sweeps on a small real store, end to end."""

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
import yaml
from grounding_toys import RECIPE, frame_rows, query_rows, r_spec, r_values, write_feature, z_spec, z_values

from visual_thought import load_run
from visual_thought.pipeline.cli import run as vtt
from visual_thought.pipeline.config import build
from visual_thought.pipeline.errors import ConfigError, Interrupted, StoreMismatch
from visual_thought.pipeline.store import FeatureStore
from visual_thought.train.config import build_config
from visual_thought.train.journal import read_journal
from visual_thought.train.loop import save
from visual_thought.train.run import train
from visual_thought.train.sweep.config import SweepConfig, load_sweep
from visual_thought.train.sweep.passes import run_pass
from visual_thought.train.sweep.plan import plan_sweep
from visual_thought.train.sweep.resume import common_step
from visual_thought.train.sweep.run import sweep

BLOCKS = [
    {"name": "LR", "key": "optimizer.lr", "values": [1e-3, 3e-3], "carry": 3e-3},
    {"name": "Dim", "key": "decoder.dim", "values": [8, 16], "carry": 16},
    {"name": "Margin", "key": "objective.p_negative", "values": [0.25, 0.15]},
]
STILL = {"decoder": RECIPE["decoder"] | {"dropout": 0.0}}


def write_sweep(folder: Path, recipe: dict | None = None, **changes: object) -> Path:
    (folder / "toy.yaml").write_text(yaml.safe_dump(RECIPE | (recipe or {})))
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({"recipe": "toy.yaml", "blocks": BLOCKS, "seeds": [0, 1]} | changes))
    return path


def config_of(toys: Path, file: Path, out: Path, **options: object) -> SweepConfig:
    source, content = load_sweep(file)
    values = {
        "source": source,
        "file": content,
        "store": toys / "store",
        "manifest": str(toys / "toys.yaml"),
        "out": out,
    }
    return build(SweepConfig, values | {"progress": False} | options, source="the test")


def weights(run_dir: Path, checkpoint: str = "last") -> dict[str, bytes]:
    folder = (run_dir / checkpoint).resolve()
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}


def validations(run_dir: Path) -> list[dict]:
    return [line for line in read_journal(run_dir) if line["kind"] == "validation"]


def alone(toys: Path, folder: Path, out: Path, *changes: str):
    """What `vtt train` makes of the toy recipe."""
    manifest = str(toys / "toys.yaml")
    return train(build_config(folder / "toy.yaml", changes, store=toys / "store", manifest=manifest, out=out))


@pytest.fixture(scope="module")
def swept(toys_once, tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    return sweep(config_of(toys_once, write_sweep(folder), folder / "out", vectorise="never"))


def test_cells_that_stand_in_several_blocks_are_trained_once(toys_once, tmp_path):
    plan = plan_sweep(config_of(toys_once, write_sweep(tmp_path), tmp_path / "out"))
    assert [(entry.block, entry.cell, entry.carried) for entry in plan.entries] == [
        ("LR", "lr-0.001", False),
        ("LR", "lr-0.003", True),
        ("Dim", "dim-8", False),
        ("Dim", "lr-0.003", True),
        ("Margin", "margin-0.25", False),
        ("Margin", "lr-0.003", False),
    ]
    assert len(plan.runs) == 8
    assert len(plan.passes) == 1
    assert sorted(len(stack) for stack in plan.passes[0].stacks) == [2, 6]
    assert not (tmp_path / "out").exists()


def test_each_run_is_what_train_makes_of_its_config_bit_for_bit(toys_once, swept, tmp_path):
    write_sweep(tmp_path)
    for cell, changes in (("lr-0.001", ["optimizer.lr=1e-3"]), ("dim-8", ["decoder.dim=8"])):
        own = swept.out / cell / "seed-1"
        one = alone(toys_once, tmp_path, tmp_path / cell, *changes, "seed=1", "order_seed=0")
        assert weights(own) == weights(one.run_dir)
        assert weights(own, "best") == weights(one.run_dir, "best")
        assert validations(own) == validations(one.run_dir)
        assert {path.name for path in own.iterdir()} == {path.name for path in one.run_dir.iterdir()}


def test_a_run_of_a_sweep_loads_like_any_other(swept):
    loaded = load_run(swept.out / "dim-8" / "seed-0")
    assert loaded.config.decoder.dim == 8
    assert set(loaded.contenders) == {"head", "instruction_blind", "linear_probe"}


def test_the_result_holds_mean_and_interval_of_every_cell(swept):
    data = json.loads((swept.out / "sweep.json").read_text())
    assert data["failed"] == []
    values = [run["metrics"]["head"]["f_0_25"] for run in data["runs"] if run["cell"] == "dim-8"]
    told = data["cells"]["dim-8"]["head"]["f_0_25"]
    assert told["mean"] == pytest.approx(sum(values) / 2)
    assert told["half"] == pytest.approx(12.7062 * abs(values[0] - values[1]) / 2, rel=1e-4)
    assert swept.render().count("→") == 2


def test_heads_trained_as_one_are_those_trained_alone_but_for_rounding(toys_once, tmp_path):
    file = write_sweep(tmp_path, STILL)
    done = sweep(config_of(toys_once, file, tmp_path / "out", vectorise="always"))
    assert not done.failed
    for cell, changes in (("lr-0.001", ["optimizer.lr=1e-3"]), ("margin-0.25", ["objective.p_negative=0.25"])):
        one = alone(toys_once, tmp_path, tmp_path / cell, *changes, "seed=1", "order_seed=0")
        folders = (done.out / cell / "seed-1", one.run_dir)
        for name in ("head", "instruction_blind", "linear_probe"):
            together, single = (load_run(run, "last").contenders[name].model.state_dict() for run in folders)
            for key in single:
                if not _without_gradient(key):
                    torch.testing.assert_close(together[key], single[key], rtol=1e-3, atol=1e-4, msg=key)
        losses = [[line["loss"] for line in validations(run)] for run in folders]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def _without_gradient(key: str) -> bool:
    """One query attends to itself alone: what Adam makes of the rounding in a gradient of zero is arbitrary."""
    return ".self_attention.query." in key or ".self_attention.key." in key


def test_with_dropout_a_stack_is_the_same_every_time_and_no_two_heads_share_a_mask(toys_once, tmp_path):
    same = [{"name": "LR", "key": "optimizer.lr", "values": [3e-3]}]
    file = write_sweep(tmp_path, {"decoder": RECIPE["decoder"] | {"dropout": 0.5}}, blocks=same)
    first, second = (sweep(config_of(toys_once, file, tmp_path / out, vectorise="always")) for out in "ab")
    runs = [[weights(done.out / "lr-0.003" / f"seed-{seed}") for seed in (0, 1)] for done in (first, second)]
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[0][1]


@pytest.mark.parametrize("vectorise", ["never", "always"])
def test_a_head_that_diverges_is_recorded_and_the_others_go_on(toys_once, tmp_path, capsys, vectorise):
    wild = [{"name": "LR", "key": "optimizer.lr", "values": [3e-3, 1e38]}]
    file = write_sweep(tmp_path, {"scheduler": {"name": "constant"}}, blocks=wild, seeds=[0])
    out = tmp_path / "out"
    places = ["--store", str(toys_once / "store"), "--manifest", str(toys_once / "toys.yaml"), "--out", str(out)]
    assert vtt(["sweep", str(file), *places, "--vectorise", vectorise, "--json"]) == 3
    told = capsys.readouterr()
    data = json.loads(told.out)
    assert [run["status"] for run in data["runs"]] == ["finished", "failed"]
    assert "not a finite number" in data["runs"][1]["reason"]
    assert "1 of 2 runs failed" in told.err
    assert json.loads((out / "lr-1e+38" / "seed-0" / "failure.json").read_text())["step"] < 12
    assert list((out / "lr-1e+38" / "seed-0").glob("nonfinite-*.json"))
    assert load_run(out / "lr-0.003" / "seed-0").head.step > 0
    before = weights(out / "lr-0.003" / "seed-0")
    assert vtt(["sweep", str(file), *places, "--resume"]) == 3
    assert weights(out / "lr-0.003" / "seed-0") == before


def stop_at(log: Path, step: int) -> threading.Thread:
    """Send this process a real SIGTERM once a run's log has reached a step."""

    def watch() -> None:
        while not any(line["kind"] == "train" and line["step"] >= step for line in read_journal(log)):
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.parametrize("vectorise", ["never", "always"])
def test_a_terminated_sweep_resumes_to_the_same_bits(toys_once, tmp_path, vectorise):
    long = {"steps": 40, "eval_freq": 10, "log_freq": 1, "controls": []}
    blocks = [{"name": "Dim", "key": "decoder.dim", "values": [8, 16]}]
    file = write_sweep(tmp_path, long, blocks=blocks)
    whole = sweep(config_of(toys_once, file, tmp_path / "whole", vectorise=vectorise))
    config = config_of(toys_once, file, tmp_path / "stopped", vectorise=vectorise)
    watcher = stop_at(config.out / "dim-8" / "seed-0", 3)
    with pytest.raises(Interrupted, match="SIGTERM") as stopped:
        sweep(config)
    watcher.join()
    assert stopped.value.exit_code == 75
    ahead = config.out / "dim-16" / "seed-1" / "checkpoints"  # as if it had been killed before this one was saved
    newest = max(ahead.iterdir(), key=lambda path: path.name)
    newest.rename(ahead / f".{newest.name}.gone")
    with pytest.raises(ConfigError, match="is taken"):
        sweep(config)
    resumed = sweep(config_of(toys_once, file, config.out, vectorise=vectorise, resume=True))
    for name in ("dim-8/seed-0", "dim-8/seed-1", "dim-16/seed-0", "dim-16/seed-1"):
        assert weights(resumed.out / name) == weights(whole.out / name)
        assert validations(resumed.out / name) == validations(whole.out / name)
    assert [run.metrics for run in resumed.outcomes] == [run.metrics for run in whole.outcomes]


def test_a_finished_sweep_is_not_trained_again(toys_once, swept):
    times = {path: path.stat().st_mtime_ns for path in swept.out.rglob("*.safetensors")}
    write = swept.out.parent / "sweep.yaml"
    again = sweep(config_of(toys_once, write, swept.out, resume=True))
    assert again.outcomes == swept.outcomes
    assert {path: path.stat().st_mtime_ns for path in swept.out.rglob("*.safetensors")} == times


def times(run_dir: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in sorted(run_dir.rglob("*")) if path.name != "README.md"}


def test_a_run_whose_folder_was_removed_is_trained_again_and_no_other(toys_once, swept, tmp_path):
    out = shutil.copytree(swept.out, tmp_path / "out", symlinks=True)
    shutil.rmtree(out / "lr-0.001" / "seed-1")
    others = sorted(out.glob("*/seed-*"))
    before = [times(path) for path in others]
    again = sweep(config_of(toys_once, swept.out.parent / "sweep.yaml", out, vectorise="never", resume=True))
    assert again.outcomes == swept.outcomes
    assert weights(out / "lr-0.001" / "seed-1") == weights(swept.out / "lr-0.001" / "seed-1")
    assert [times(path) for path in others] == before


def test_more_seeds_are_trained_beside_those_that_are_there(toys_once, tmp_path):
    one = {"blocks": BLOCKS[:1]}
    out = tmp_path / "out"
    first = sweep(config_of(toys_once, write_sweep(tmp_path, **one, seeds=[0]), out, vectorise="never"))
    before = {run.run: times(out / run.run) for run in first.outcomes}
    more = sweep(config_of(toys_once, write_sweep(tmp_path, **one), out, vectorise="never", resume=True))
    assert [run.status for run in more.outcomes] == ["finished"] * 4
    assert {name: times(out / name) for name in before} == before


def test_runs_that_had_begun_go_on_where_they_stood_and_new_ones_start_after_them(toys_once, tmp_path, monkeypatch):
    long = {"steps": 40, "eval_freq": 10, "log_freq": 1, "controls": []}
    blocks = [{"name": "Dim", "key": "decoder.dim", "values": [8, 16]}]
    file = write_sweep(tmp_path, long, blocks=blocks)
    whole = sweep(config_of(toys_once, file, tmp_path / "whole", vectorise="never"))
    config = config_of(toys_once, file, tmp_path / "stopped", vectorise="never")
    watcher = stop_at(config.out / "dim-8" / "seed-0", 3)
    with pytest.raises(Interrupted):
        sweep(config)
    watcher.join()
    stood = int((config.out / "dim-8" / "seed-1" / "last").resolve().name)
    shutil.rmtree(config.out / "dim-8" / "seed-0")
    started = []

    def watched(one, *rest):
        started.append(([run.name for run in one.runs], common_step([run.config.out for run in one.runs])))
        return run_pass(one, *rest)

    monkeypatch.setattr("visual_thought.train.sweep.run.run_pass", watched)
    resumed = sweep(config_of(toys_once, file, config.out, vectorise="never", resume=True))
    assert started == [(["dim-8/seed-1", "dim-16/seed-0", "dim-16/seed-1"], stood), (["dim-8/seed-0"], 0)]
    for name in ("dim-8/seed-0", "dim-8/seed-1", "dim-16/seed-0", "dim-16/seed-1"):
        assert weights(resumed.out / name) == weights(whole.out / name)
    assert [run.metrics for run in resumed.outcomes] == [run.metrics for run in whole.outcomes]


def test_a_death_between_two_saves_leaves_a_step_that_all_runs_have(toys_once, tmp_path, monkeypatch):
    saves = []

    def dies(run, done):
        saves.append(done)
        if saves.count(10) == 2:
            raise KeyboardInterrupt
        save(run, done)

    file = write_sweep(tmp_path, {"keep_last": 1, "controls": [], "eval_freq": 5}, blocks=BLOCKS[:1], seeds=[0])
    config = config_of(toys_once, file, tmp_path / "out", vectorise="never")
    with monkeypatch.context() as patch:
        patch.setattr("visual_thought.train.sweep.passes.save", dies)
        with pytest.raises(KeyboardInterrupt):
            sweep(config)
    assert common_step(sorted(config.out.glob("*/seed-0"))) == 5


def test_a_run_that_is_there_keeps_features_of_another_backbone_out_of_its_table(toys, tmp_path):
    file = write_sweep(tmp_path, {"controls": [], "steps": 2, "eval_freq": 2}, blocks=BLOCKS[:1], seeds=[0])
    done = sweep(config_of(toys, file, tmp_path / "out"))
    shutil.rmtree(done.out / "lr-0.001")
    shutil.rmtree(toys / "store")
    store, frames = FeatureStore.create(toys / "store"), frame_rows(6, 12)
    write_feature(store, z_spec(numerics=2), query_rows(frames), z_values(query_rows(frames)))
    write_feature(store, r_spec(), frames, r_values(frames))
    before = times(done.out)
    with pytest.raises(StoreMismatch, match="numerics"):
        sweep(config_of(toys, file, done.out, resume=True))
    assert times(done.out) == before


def test_a_cell_that_cannot_be_meant_is_named_before_anything_is_trained(toys_once, tmp_path):
    wrong = [{"name": "LR", "key": "optimizer.lr", "values": [1e-3, -1.0]}]
    with pytest.raises(ConfigError, match=r"cell lr--1 [\s\S]*optimizer\.lr is too small"):
        sweep(config_of(toys_once, write_sweep(tmp_path, blocks=wrong), tmp_path / "out"))
    assert not (tmp_path / "out").exists()
