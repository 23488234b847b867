"""Seconds and bytes, from receipts and logs that are there, silent, damaged or gone."""

import json
import os
import shutil

import pyarrow as pa
import pytest
import torch

from visual_thought.evaluate.page.cost import cost_of, readable_seconds, training_seconds
from visual_thought.pipeline.record import read_record
from visual_thought.pipeline.spec import FeatureSpec, ImageSpec, TokenLayout
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.tensors import encode

KEYS = {"z": "z", "r": "r"}


def cost(folder, place=None, keys=None):
    run, store = folder / "run", FeatureStore.open(folder / "store")
    found = {name: store.resolve(name) for name in KEYS}
    return cost_of(run, read_record(run / "run.json"), place or store.place, keys or found)


def line(step, pace, contender="head"):
    return {"kind": "train", "step": step, "contender": contender, "samples_per_s": pace}


def timed_store(path, infos):
    """A store of one feature with a part of two rows for every info."""
    spec = FeatureSpec("e", "frame", (4, 8), TokenLayout((2, 2)), ImageSpec(28, 28), "fp32", {"backbone": "toy"})
    store = FeatureStore.create(path)
    frame = {"repo_id": "a/b", "revision": "1", "episode_index": 0, "camera": "main"}
    for number, info in enumerate(infos):
        rows = [frame | {"frame_index": 2 * number + i, "timestamp_s": 0.1 * (2 * number + i)} for i in range(2)]
        for plan in plan_array(store, spec, pa.Table.from_pylist(rows)):
            commit_part(store, plan, 0, encode(torch.ones(2, 4, 8), spec), info=info)
    return store, spec.key


def test_the_seconds_of_extraction_are_the_sums_over_receipts_by_stage(trained, tmp_path):
    infos = [{"seconds": {"decode": 1.5, "forward": 2.0}, "device": "cpu"}, {"seconds": {"forward": 0.25}}]
    store, key = timed_store(tmp_path / "timed", infos)
    spent = cost(trained, store.place, {"e": key})
    (one,) = spent.extractions
    assert one.seconds == {"decode": 1.5, "forward": 2.25}
    assert (one.rows, one.told_rows, one.devices) == (4, 4, ("cpu",))
    files = [path for path in (tmp_path / "timed" / "arrays").rglob("*") if path.is_file() and "json" not in path.name]
    assert one.bytes == sum(path.stat().st_size for path in files if ".claim" not in path.name)
    assert spent.missing == ()


def test_receipts_may_say_anything_and_what_is_no_number_of_seconds_does_not_count(trained, tmp_path):
    infos = [{"seconds": "soon"}, {"seconds": {"decode": "x", "forward": True, "load": -1}}, {"seconds": {"load": 2}}]
    store, key = timed_store(tmp_path / "timed", infos)
    (one,) = cost(trained, store.place, {"e": key}).extractions
    assert (one.seconds, one.told_rows, one.rows) == ({"load": 2}, 2, 6)


def test_a_store_whose_receipts_tell_no_seconds_has_a_size_and_the_seconds_are_missing(trained):
    spent = cost(trained)
    assert {one.feature: one.seconds for one in spent.extractions} == {"z": {}, "r": {}}
    assert all(one.bytes and one.rows for one in spent.extractions)
    assert spent.missing == ("the seconds of extracting z, r, because no receipt in the store tells them",)


def test_a_store_that_is_gone_leaves_the_cost_of_training_and_says_so(trained):
    shutil.rmtree(trained / "store")
    run = trained / "run"
    spent = cost_of(run, read_record(run / "run.json"), trained / "store", KEYS)
    assert spent.extractions == ()
    assert spent.training.seconds
    assert spent.drawn_bytes is None
    assert "receipts could not be read" in spent.missing[0]


def test_training_counts_its_steps_examples_and_the_bytes_of_its_checkpoints(trained):
    training = cost(trained).training
    assert (training.steps, training.examples, training.device) == (60, 60 * 16, "cpu")
    total = 0
    for parent, _, names in os.walk(trained / "run" / "checkpoints"):
        total += sum(os.path.getsize(os.path.join(parent, name)) for name in names)
    assert training.bytes == total > 0


def test_what_training_drew_is_its_examples_times_the_stored_bytes_of_a_row(trained):
    spent = cost(trained)
    expected = sum(one.bytes / one.rows * 960 for one in spent.extractions)
    assert spent.drawn_bytes == pytest.approx(expected, abs=1)


def test_seconds_of_training_follow_from_the_pace_of_every_stretch():
    lines = [line(20, 100.0), line(20, 100.0, "linear_probe"), {"kind": "validation", "step": 25}, line(30, 40.0)]
    assert training_seconds(lines, 8) == pytest.approx(20 * 8 / 100 + 10 * 8 / 40)


def test_a_log_without_pace_tells_no_seconds(trained):
    assert training_seconds([], 8) is None
    assert training_seconds([line(20, None), line(40, 0), {"kind": "note", "step": 3, "text": "x"}], 8) is None
    log = trained / "run" / "metrics.jsonl"
    log.write_text(json.dumps({"kind": "note", "step": 1, "text": "x"}) + "\n{broken\n\n")
    spent = cost(trained)
    assert spent.training.seconds is None
    assert "the seconds of training, because the run's log holds no pace" in spent.missing


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.9, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 0 s"),
        (312.4, "5 min 12 s"),
        (3599.7, "1 h 0 min"),
        (11_100, "3 h 5 min"),
    ],
)
def test_seconds_are_said_as_far_as_they_matter(seconds, text):
    assert readable_seconds(seconds) == text
