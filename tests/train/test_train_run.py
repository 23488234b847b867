"""The training stage on a small real store, end to end."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from grounding_toys import (
    config_for,
    frame_rows,
    label_rows,
    query_rows,
    r_spec,
    write_feature,
    write_manifest,
    z_spec,
    z_values,
)

from visual_thought.pipeline.datasets.labels import read_labels, write_labels
from visual_thought.pipeline.errors import (
    ConfigError,
    Interrupted,
    ManifestError,
    StoreCorrupt,
    StoreIncomplete,
    StoreMismatch,
    WeightsError,
)
from visual_thought.pipeline.place import StoreUrl
from visual_thought.pipeline.record import read_record
from visual_thought.pipeline.store import FeatureStore
from visual_thought.train.journal import read_journal
from visual_thought.train.loaded import load_run
from visual_thought.train.run import train
from visual_thought.train.sources import DiskSource
from visual_thought.train.tasks.ground import GroundTask


def weights(run_dir: Path, checkpoint: str = "last") -> dict[str, bytes]:
    folder = (run_dir / checkpoint).resolve()
    files = sorted(path for path in folder.rglob("*.safetensors"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def validations(run_dir: Path) -> list[dict]:
    return [line for line in read_journal(run_dir) if line["kind"] == "validation"]


@pytest.fixture(scope="module")
def finished(toys_once, tmp_path_factory):
    """One uninterrupted run of 12 steps."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return train(config_for(toys_once, str(out)))


def test_the_head_learns_what_its_controls_cannot(toys):
    done = train(config_for(toys, steps=70, eval_freq=35, head={"dim": 16, "candidates": 3, "num_heads": 2}))
    head, blind, probe = (done.metrics[name] for name in ("head", "instruction_blind", "linear_probe"))
    assert head["f_0_25"] > 0.9
    assert blind["f_0_25"] < 0.6
    assert head["place_hit_rate"] > 0.7 > probe["place_hit_rate"]
    assert done.path == (toys / "run" / "best").resolve()
    assert done.step == head["step"]


def test_a_run_folder_holds_what_it_should(finished):
    run = finished.run_dir
    names = {path.name for path in run.iterdir()}
    assert names == {
        "README.md",
        "run.json",
        "metrics.jsonl",
        "checkpoints",
        "last",
        "best",
        "best-instruction_blind",
        "best-linear_probe",
    }
    record = read_record(run / "run.json")
    assert record.fingerprints == {"z": z_spec().fingerprint, "r": r_spec().fingerprint}
    assert record.splits["val"] == {"episodes": [4], "examples": 36}
    assert record.config["head"]["dropout"] == 0.0  # defaults are written out
    assert [line["step"] for line in validations(run) if line["contender"] == "head" and line["split"] == "val"] == [
        5,
        10,
        12,
    ]


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(toys_once, finished, tmp_path):
    again = train(config_for(toys_once, str(tmp_path / "again")))
    other = train(config_for(toys_once, str(tmp_path / "other"), seed=1))
    assert weights(again.run_dir) == weights(finished.run_dir)
    assert weights(other.run_dir) != weights(finished.run_dir)


def test_threads_and_residency_change_nothing(toys_once, finished, tmp_path):
    loader = {"threads": 3, "depth": 5, "residency": "disk", "verify": "always"}
    done = train(config_for(toys_once, str(tmp_path / "disk"), loader=loader, eval_batch_size=7, keep_last=1))
    assert weights(done.run_dir) == weights(finished.run_dir)


def test_a_control_does_not_change_the_head(toys_once, finished, tmp_path):
    done = train(config_for(toys_once, str(tmp_path / "alone"), controls=[]))
    name = "model.safetensors"
    assert weights(done.run_dir)[name] == weights(finished.run_dir)[name]
    assert not (done.path / "controls").exists()


def stop_at(run_dir: Path, step: int) -> threading.Thread:
    """Send this process a real SIGTERM once the log has reached a step."""

    def watch() -> None:
        while not any(line["kind"] == "train" and line["step"] >= step for line in read_journal(run_dir)):
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("step", [3, pytest.param(11, marks=pytest.mark.slow)])
def test_a_terminated_run_resumes_to_the_same_bits(toys_once, tmp_path, step):
    options = {"steps": 40, "eval_freq": 10, "log_freq": 1, "controls": ["instruction_blind"]}
    whole = train(config_for(toys_once, str(tmp_path / "whole"), **options))
    config = config_for(toys_once, str(tmp_path / "stopped"), **options)
    before = signal.getsignal(signal.SIGTERM)
    watcher = stop_at(config.out, step)
    with pytest.raises(Interrupted, match="SIGTERM") as stopped:
        train(config)
    watcher.join()
    assert stopped.value.exit_code == 75
    assert signal.getsignal(signal.SIGTERM) is before
    at = int((config.out / "last").resolve().name)
    assert step <= at < 40
    resumed = train(config_for(toys_once, str(config.out), **options, resume=True, loader={"threads": 2}))
    assert weights(resumed.run_dir) == weights(whole.run_dir)
    assert weights(resumed.run_dir, "best") == weights(whole.run_dir, "best")
    assert validations(resumed.run_dir) == validations(whole.run_dir)
    assert resumed.metrics == whole.metrics


@pytest.mark.parametrize("residency", ["ram", "disk"])
def test_a_signal_before_the_first_step_ends_resumably_with_nothing_half_written(
    toys_once, finished, tmp_path, monkeypatch, residency
):
    places = {"ram": (DiskSource, "fill"), "disk": (GroundTask, "prepare")}
    config = config_for(toys_once, str(tmp_path / "run"), loader={"residency": residency})
    before, (owner, name) = signal.getsignal(signal.SIGTERM), places[residency]
    act = getattr(owner, name)

    def struck(*given):
        os.kill(os.getpid(), signal.SIGTERM)
        return act(*given)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, struck)
        with pytest.raises(Interrupted, match="SIGTERM") as stopped:
            train(config)
    assert stopped.value.exit_code == 75
    assert signal.getsignal(signal.SIGTERM) is before
    assert not config.out.exists()
    assert weights(train(replace(config, resume=True)).run_dir) == weights(finished.run_dir)


def test_a_torn_last_checkpoint_falls_back_to_the_newest_whole_one_and_says_so(toys_once, finished, tmp_path):
    run = shutil.copytree(finished.run_dir, tmp_path / "run", symlinks=True)
    file = (run / "last").resolve() / "training_state" / "head.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    done = train(config_for(toys_once, str(run), resume=True))
    notes = [line["text"] for line in read_journal(run) if line["kind"] == "note"]
    assert "000012 is damaged" in notes[0]
    assert notes[1] == "resumed from step 10"
    assert weights(done.run_dir) == weights(finished.run_dir)
    assert validations(run) == validations(finished.run_dir)


def test_resuming_a_finished_run_changes_nothing(toys_once, finished, tmp_path):
    run = shutil.copytree(finished.run_dir, tmp_path / "run", symlinks=True)
    done = train(config_for(toys_once, str(run), resume=True))
    assert weights(run) == weights(finished.run_dir)
    assert done.metrics == finished.metrics


def test_resuming_with_another_config_is_refused_key_by_key(toys_once, finished, tmp_path):
    run = shutil.copytree(finished.run_dir, tmp_path / "run", symlinks=True)
    with pytest.raises(ConfigError, match="another config") as error:
        train(config_for(toys_once, str(run), resume=True, batch_size=8))
    assert "batch_size: 8 != 16" in str(error.value)


def test_an_existing_run_folder_is_never_written_over(toys_once, finished, tmp_path):
    before = weights(finished.run_dir)
    with pytest.raises(ConfigError, match="is taken"):
        train(config_for(toys_once, str(finished.run_dir)))
    assert weights(finished.run_dir) == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is taken"):
        train(config_for(toys_once, str(tmp_path)))


def rows_of(store: FeatureStore, feature: str, wanted: list[dict]) -> list[int]:
    index = store.index(feature)
    names = [name for name in ("episode_index", "frame_index", "camera", "instruction") if name in index.column_names]
    places = {tuple(row[name] for name in names): number for number, row in enumerate(index.to_pylist())}
    return [places[tuple(row[name] for name in names)] for row in wanted]


def test_a_loaded_run_scores_as_it_did_in_training(toys_once, finished):
    run = load_run(finished.run_dir)
    store, labels = FeatureStore.open(toys_once / "store"), read_labels(toys_once / "labels.parquet")
    chosen = [row for row in labels.to_pylist() if row["episode_index"] == 4]
    z, r = (store.read(name, rows_of(store, name, chosen)) for name in ("z", "r"))
    with torch.inference_mode():
        scores = run.model(z.float(), r.float())
    positive = np.array([row["positive"] for row in chosen])
    decided = (scores.coarse >= 0).numpy()
    metrics = finished.metrics["head"]
    assert decided.sum() == metrics["tp"] + metrics["fp"]
    assert decided[~positive].any(axis=1).mean() == pytest.approx(metrics["false_alarm_rate"])
    assert run.head.step == finished.step
    assert not run.model.training


def test_checkpoints_can_be_loaded_by_name_or_step(finished):
    assert load_run(finished.run_dir, "last").head.step == 12
    assert load_run(finished.run_dir, 10).head.step == 10
    with pytest.raises(ConfigError, match="no checkpoint '11'"):
        load_run(finished.run_dir, 11)
    with pytest.raises(ConfigError, match="holds no run"):
        load_run(finished.run_dir / "checkpoints")


def test_a_damaged_checkpoint_is_not_loaded(finished, tmp_path):
    run = shutil.copytree(finished.run_dir, tmp_path / "run", symlinks=True)
    file = (run / "last").resolve() / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(WeightsError, match="damaged"):
        load_run(run, "last")


def test_a_run_without_refinement_never_reads_r(toys):
    for array in FeatureStore.open(toys / "store").arrays():
        if array.spec.name == "r":
            shutil.rmtree(array.path)
    options = {"features": {"z": "z"}, "head": {"dim": 16, "refine": False}, "steps": 2}
    done = train(config_for(toys, **options))
    assert list(read_record(toys / "run" / "run.json").features) == ["z"]
    assert "refine" not in done.metrics["head"]


def test_another_fingerprint_than_the_recipe_names_is_refused(toys):
    with pytest.raises(StoreMismatch):
        train(config_for(toys, fingerprints={"z": "0" * 64}))


def test_a_name_that_means_two_features_is_refused_with_their_difference(toys):
    frames = frame_rows(1, 1)
    write_feature(
        FeatureStore.open(toys / "store"), z_spec(numerics=2), query_rows(frames), z_values(query_rows(frames))
    )
    with pytest.raises(ConfigError, match="several features") as error:
        train(config_for(toys))
    assert "numerics" in str(error.value)


def test_labels_without_a_row_in_the_store_are_refused_by_name(toys):
    write_labels(toys / "labels.parquet", label_rows(query_rows(frame_rows(6, 13))))
    with pytest.raises(StoreIncomplete, match="18 of 234 labels") as error:
        train(config_for(toys))
    assert "'frame_index': 12" in str(error.value)
    done = train(config_for(toys, loader={"allow_partial": True}, steps=2))
    assert read_record(done.run_dir / "run.json").splits["left_out"] == {"examples": 18}


def test_a_partial_store_is_refused_unless_allowed(toys):
    array = next(array for array in FeatureStore.open(toys / "store").arrays() if array.spec.name == "z")
    array.receipt_path(1).unlink()  # rows 128 … 215
    with pytest.raises(StoreIncomplete, match=r"only partly extracted: 128 of 216 rows[\s\S]*--allow-partial"):
        train(config_for(toys))
    options = {"loader": {"allow_partial": True}, "steps": 2}
    write_manifest(toys, splits={"train": [0, 1], "val": [2], "test": [5]})
    train(config_for(toys, **options))
    assert read_record(toys / "run" / "run.json").splits["left_out"] == {"examples": 88}


def test_nan_features_are_refused(toys_once, tmp_path):
    shutil.copy(toys_once / "labels.parquet", tmp_path)
    write_manifest(tmp_path)
    frames = frame_rows(6, 12)
    values = z_values(query_rows(frames))
    values[30, 2, 2] = float("nan")
    store = FeatureStore.create(tmp_path / "store")
    write_feature(store, z_spec(), query_rows(frames), values)
    for residency in ("ram", "disk"):
        options = {"features": {"z": "z"}, "head": {"dim": 16, "refine": False}, "loader": {"residency": residency}}
        with pytest.raises(StoreCorrupt, match="NaN"):
            train(config_for(tmp_path, residency, **options))


@pytest.mark.parametrize("splits", [{"train": [0], "val": [], "test": [1]}, {"train": [], "val": [0], "test": [1]}])
def test_an_empty_split_is_refused(toys, splits):
    write_manifest(toys, splits=splits)
    with pytest.raises(ManifestError, match="split"):
        train(config_for(toys))


def test_a_manifest_without_labels_is_refused(toys):
    write_manifest(toys, labels=None)
    with pytest.raises(ManifestError, match="labels"):
        train(config_for(toys))


def test_a_blind_control_needs_several_instructions_a_frame(toys):
    labels = label_rows(query_rows(frame_rows(6, 12)))
    write_labels(toys / "labels.parquet", labels.take(list(range(0, len(labels), 3))))
    with pytest.raises(ConfigError, match="instruction-blind"):
        train(config_for(toys))
    train(config_for(toys, controls=["linear_probe"], steps=2))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"head": {"dmi": 3}}, "head.*|dmi"),
        ({"head": {"name": "gruond"}}, "gruond"),
        ({"objective": {"p_plus": 0.6}}, "p_plus"),
        ({"controls": ["instruction_blin"]}, "instruction_blind"),
        ({"task": "grond"}, "grond"),
        ({"features": {"z": "z"}}, "feature `r`"),
        ({"features": {"z": "z", "r": "r", "e": "r"}}, "no such feature"),
        ({"features": {"z": "r", "r": "r"}}, "cannot serve as `z`"),
        ({"features": {"z": "zz", "r": "r"}}, "zz"),
        ({"decoder": {"dim": 16, "num_layers": 1, "num_heads": 3}}, "divisible"),
        ({"device": "tpu9"}, "tpu9"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused_before_anything_is_written(toys, changes, said):
    with pytest.raises(ConfigError) as error:
        train(config_for(toys, **changes))
    assert any(part in str(error.value) for part in said.split("|"))
    assert not (toys / "run").exists()


def test_bfloat16_autocast_trains_and_keeps_float32_weights(toys, monkeypatch):
    seen, attend = set(), torch.nn.functional.scaled_dot_product_attention

    def watched(q, *rest, **options):
        seen.add((q.dtype, torch.is_inference_mode_enabled()))
        return attend(q, *rest, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    train(config_for(toys, steps=3, precision="bf16"))
    assert seen == {(torch.bfloat16, False), (torch.bfloat16, True)}  # in steps and in validations
    model = load_run(toys / "run").model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    losses = [line["loss"] for line in read_journal(toys / "run") if line["kind"] == "train"]
    assert np.isfinite(losses).all()


def test_tensorboard_files_are_written_by_default(toys):
    train(config_for(toys, steps=2, tensorboard=True))
    assert list((toys / "run" / "tensorboard").glob("events*"))


def test_training_imports_no_backbone_and_no_dataset_library():
    code = (
        "import sys, visual_thought.train.run, visual_thought.train.loaded, visual_thought.train.tasks.ground\n"
        "print([name for name in ('lerobot', 'transformers', 'av', 'visual_thought.extract') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_run_from_a_remote_store_learns_what_one_from_a_folder_learns(toys_once, finished, tmp_path):
    url = StoreUrl(f"file://{(toys_once / 'store').absolute()}", tmp_path / "cache")
    away = train(config_for(toys_once, str(tmp_path / "away"), store=url))
    assert weights(away.run_dir) == weights(finished.run_dir)
    assert read_record(away.run_dir / "run.json").store == str(url)
    assert load_run(away.run_dir).config.store == url
