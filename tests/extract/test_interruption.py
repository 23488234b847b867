"""Killed or stopped at any moment, the same command finishes the same store."""

import gc
import os
import random
import signal
import sys
import threading
import time
import traceback
import warnings
from dataclasses import replace

import pytest

from visual_thought.extract.dataset import Dataset
from visual_thought.extract.run import extract
from visual_thought.pipeline.errors import Interrupted, MachineError, VisualThoughtError
from visual_thought.pipeline.store import FeatureStore

SLOW = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 40)]


@pytest.fixture(scope="module")
def one_go_s(both_cameras):
    """Seconds of the same extraction in one go, everything imported."""
    extract(replace(both_cameras, store=both_cameras.store.with_name("first")))
    return extract(both_cameras).seconds["total"]


@pytest.fixture(scope="module")
def uninterrupted(both_cameras, one_go_s, contents):
    """The contents of a store made in one go."""
    return contents(both_cameras.store)


@pytest.fixture
def asked(both_cameras, tmp_path):
    """The same extraction into another store."""
    return replace(both_cameras, store=tmp_path / "store")


@pytest.fixture
def children():
    """Processes that a test forks."""
    forked = Children()
    yield forked
    forked.end()


@pytest.mark.parametrize("seed", [0, *SLOW])
def test_kill_9_at_random_moments_leaves_a_store_that_the_next_run_finishes(
    asked, one_go_s, uninterrupted, contents, children, seed
):
    draw, kills = random.Random(seed), 0
    for _ in range(6):
        child = children.start(lambda: extract(asked))
        time.sleep(draw.uniform(0.05, 0.45) * one_go_s)  # two attempts together are too short to finish
        os.kill(child, signal.SIGKILL)
        if children.wait(child) == 0:
            break
        kills += 1
    assert kills >= 2
    extract(asked)
    assert contents(asked.store) == uninterrupted
    assert FeatureStore.open(asked.store).status("z").missing == {}
    assert extract(asked).frames == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_between_two_batches_and_the_same_command_resumes(
    asked, uninterrupted, contents, children, number
):
    child = children.start(lambda: extract(asked))
    started = time.monotonic()
    while not list(asked.store.glob("receipts/*/r-*/*.json")):
        assert time.monotonic() - started < 60, "the child commits nothing"
        time.sleep(0.01)
    sent = time.monotonic()
    os.kill(child, number)
    assert children.wait(child) == Interrupted.exit_code
    assert time.monotonic() - sent < 20
    parts = len(list(asked.store.glob("receipts/*/r-*/*.json")))
    assert 0 < parts < 5
    answer = extract(asked)
    assert answer.features[1].parts_reused == parts
    assert contents(asked.store) == uninterrupted


@pytest.mark.slow
def test_a_signal_ends_an_extraction_whose_decoder_hangs(
    asked, children, contents, uninterrupted, tmp_path, monkeypatch
):
    for module in ("decode", "parts"):
        monkeypatch.setattr(f"visual_thought.extract.{module}.GRACE_S", 0.5)  # how long its threads may take to end
    child = children.start(lambda: extract_hanging(asked, tmp_path / "hangs"))
    started = time.monotonic()
    while not (tmp_path / "hangs").exists():
        assert time.monotonic() - started < 60, "the child decodes nothing"
        time.sleep(0.01)
    sent = time.monotonic()
    os.kill(child, signal.SIGTERM)
    assert children.wait(child) == Interrupted.exit_code
    assert time.monotonic() - sent < 30
    extract(asked)
    assert contents(asked.store) == uninterrupted


def test_a_decoder_that_hangs_ends_the_extraction_and_leaves_nothing_half_written(
    asked, children, tmp_path, monkeypatch
):
    monkeypatch.setattr("visual_thought.extract.decode.GRACE_S", 0.5)  # how long its thread may take to end
    child = children.start(lambda: extract_hanging(replace(asked, stall_timeout_s=1), tmp_path / "hangs"))
    started = time.monotonic()
    assert children.wait(child) == MachineError.exit_code
    assert time.monotonic() - started < 60
    store = FeatureStore.open(asked.store)
    assert {array.finished_parts() for array in store.arrays()} == {(0,)}
    assert not [path for path in asked.store.rglob("*") if path.name.startswith(".") and path.is_file()]


def test_the_handlers_of_signals_are_given_back(config):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    extract(config(features=("r",)))
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def extract_hanging(config, told):
    """Extract a dataset whose second episode never decodes beyond its first frames, and say when that happens."""
    decode = Dataset.decode

    def hangs(dataset, frames):
        for number, frame in enumerate(decode(dataset, frames := list(frames))):
            if frames[0].episode == 1 and number == 5:
                told.touch()
                threading.Event().wait()
            yield frame

    Dataset.decode = hangs  # in a forked child, which ends with it
    extract(config)


class Children:
    """Forked processes. All of them end with the test."""

    def __init__(self):
        self._running = set()

    def start(self, run):
        """Run in a fork of this process; its exit code is 0, the error's own, or 1. Returns the process id."""
        gc.collect()
        gc.freeze()  # what this process leaves to the collector (decoders with threads) is not the child's to free
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of libraries that nothing here waits for
            child = os.fork()
        if not child:
            os._exit(exit_code(run))
        self._running.add(child)
        return child

    def wait(self, child):
        """Wait for its end; returns the exit code, negative for a signal."""
        status = os.waitpid(child, 0)[1]
        self._running.discard(child)
        return os.waitstatus_to_exitcode(status)

    def end(self):
        """Kill what still runs."""
        for child in sorted(self._running):
            os.kill(child, signal.SIGKILL)
            self.wait(child)


def exit_code(run):
    try:
        run()
    except VisualThoughtError as error:
        return error.exit_code
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        return 1
    return 0
