"""A crash or a full disk while saving: every link leads to a whole checkpoint, and the next process goes on."""

import json
import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from grounding_toys import config_for

from visual_thought.pipeline.errors import MachineError
from visual_thought.train.checkpoint import checkpoint_dir, relink, restore
from visual_thought.train.config import OptimizerConfig
from visual_thought.train.loaded import load_run
from visual_thought.train.optimizer import make_optimizer
from visual_thought.train.run import train

STEPS, HALF = 16, 8
OPTIONS = {"controls": [], "steps": STEPS, "eval_freq": 1, "keep_last": STEPS}


@pytest.fixture(scope="module")
def one_thread():
    """What is trained here is held against what processes of one thread trained."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def finished(one_thread, toys_once, tmp_path_factory):
    """A run that kept the checkpoint of every step."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return train(config_for(toys_once, str(out), **OPTIONS)).run_dir


FEW, MANY = (8, ("exit",)), (20, ("full", "exit", "lost"))
"""How often to kill, and what to do to every operation of a save."""


@pytest.fixture(scope="module", params=[FEW, pytest.param(MANY, marks=pytest.mark.slow)], ids=["few", "many"])
def counts(request, toys_once, finished, tmp_path_factory):
    """What became of many processes that died while they saved, and the folder they left."""
    copies = tmp_path_factory.mktemp("copies")
    bare = shutil.copytree(finished, copies / "bare", symlinks=True)
    for path in (bare / "checkpoints").iterdir():
        if path != (bare / "best").resolve():
            shutil.rmtree(path)
    (bare / "last").unlink()
    kills, faults = request.param
    script, given = Path(__file__).with_name("saves.py"), (bare, copies, toys_once, STEPS, kills, *faults)
    command = [sys.executable, "-W", "error", script, *given]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout) | {"copies": copies, "kills": kills, "faults": faults}


def weights(run: Path, link: str) -> bytes:
    return (run / link / "model.safetensors").read_bytes()


def test_a_fault_at_any_operation_leaves_links_that_load_and_the_next_save_goes_through(counts):
    operations = [counts[fault] for fault in counts["faults"] if fault != "lost"]
    assert len(set(operations)) == 1
    assert operations[0] > 30
    assert counts.get("lost", operations[0]) >= operations[0]


def test_processes_killed_at_any_moment_of_saving_leave_links_that_load(counts):
    assert counts["kill"] >= counts["kills"] // 4  # so many died in the middle of one


def test_a_training_killed_again_and_again_ends_with_the_same_bits(finished, counts):
    assert counts["train"] >= counts["kills"] // 4
    for link in ("last", "best"):
        assert weights(counts["copies"] / "killed", link) == weights(finished, link)


@contextmanager
def files_no_longer_than(size: int):
    """No file of this process may grow beyond that many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def stopped_at(run: Path, step: int) -> None:
    """Make a finished run one that was stopped after a step."""
    loaded = load_run(run, step)
    path = checkpoint_dir(run, step)
    optimizer = make_optimizer(loaded.model, OptimizerConfig(lr=1.0))
    relink(run, path, restore(path, {"head": loaded.model}, {"head": optimizer}))


def test_a_disk_that_is_full_ends_a_training_which_goes_on_later(toys_once, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run", symlinks=True)
    stopped_at(run, HALF)
    config = config_for(toys_once, str(run), **OPTIONS, resume=True)
    largest = max(path.stat().st_size for path in (run / "last" / "training_state").iterdir())
    with files_no_longer_than(largest - 1), pytest.raises(MachineError, match="no room for") as caught:
        train(config)
    assert caught.value.exit_code == 5
    assert "--resume" in str(caught.value)
    assert load_run(run, "last").head.step == HALF
    assert load_run(run).head.step <= HALF
    train(config)
    assert weights(run, "last") == weights(finished, "last")
    assert weights(run, "best") == weights(finished, "best")


def test_a_death_before_the_first_file_does_not_take_the_folder(toys_once, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / ".run.json.123").write_text('{"task": "gro')
    assert train(config_for(toys_once, str(out), controls=[], steps=2)).step == 2
