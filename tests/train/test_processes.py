"""Several processes train as one does."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from grounding_toys import RECIPE, config_for
from two_processes import CALM, LONG

from visual_thought.pipeline.errors import ConfigError
from visual_thought.pipeline.store import FeatureStore
from visual_thought.train.checkpoint import newest_valid
from visual_thought.train.journal import read_journal
from visual_thought.train.processes import Team
from visual_thought.train.resume import earlier_run
from visual_thought.train.run import _refuse_small_steps, train
from visual_thought.train.sampling import EpochOrder, Share

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
START_S = 250  # importing torch alone takes half a minute where every core is busy

pytestmark = pytest.mark.timeout(START_S + 50)


def environment(**more):
    paths = [str(ROOT / ".src"), str(HERE)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"} | more


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def start_pair(*command: str) -> list[subprocess.Popen]:
    """Two processes as torchrun starts them, without the time it takes itself."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "TORCHELASTIC_RUN_ID": "pair"}
    shared |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    return [
        subprocess.Popen(
            [sys.executable, *command],
            env=environment(**shared, RANK=str(rank), LOCAL_RANK=str(rank)),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]


def damage(store: Path) -> None:
    array = next(array for array in FeatureStore.open(store).arrays() if array.spec.name == "z")
    data = np.frombuffer(array.part_path(0).read_bytes(), np.uint8).copy()
    data[:] ^= 1
    array.part_path(0).chmod(0o640)
    array.part_path(0).write_bytes(data.tobytes())


@pytest.fixture(scope="module")
def pair(toys_once, tmp_path_factory):
    """The data folder with all runs of two processes, and what each process says of them."""
    data = shutil.copytree(toys_once, tmp_path_factory.mktemp("pair") / "toys")
    damage(shutil.copytree(data / "store", data / "damaged"))
    alone = train(config_for(data, "started-alone", **CALM, **LONG))
    for step in (20, 30, 40):
        shutil.rmtree(alone.run_dir / "checkpoints" / f"{step:06d}")
    answers = tmp_path_factory.mktemp("answers")
    started = start_pair(str(HERE / "two_processes.py"), str(data), str(answers))
    said = [process.communicate(timeout=START_S)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    return data, [json.loads((answers / f"{rank}.json").read_text()) for rank in (0, 1)]


def numbers(run_dir: Path, *, start: int = 0) -> list[tuple]:
    """Every line of a log but its speed: what was measured, and the values."""
    timed = ("samples_per_s", "waiting")
    lines = [line for line in read_journal(run_dir) if line["kind"] != "note" and line["step"] > start]
    return [{key: value for key, value in line.items() if key not in timed} for line in lines]


def assert_same_curve(found: list[dict], expected: list[dict]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        values = {key: value for key, value in other.items() if isinstance(value, float)}
        assert {key: value for key, value in one.items() if key not in values} == {
            key: value for key, value in other.items() if key not in values
        }
        assert {key: one[key] for key in values} == pytest.approx(values, rel=1e-3, abs=1e-4)


def test_two_processes_learn_what_one_learns(pair, tmp_path):
    data, said = pair
    train(config_for(data, str(tmp_path / "one"), **CALM, eval_batch_size=7))
    assert_same_curve(numbers(data / "alike"), numbers(tmp_path / "one"))
    assert said[0]["alike"] == said[1]["alike"]


def test_a_process_and_a_micro_batch_are_the_same_cut_even_with_dropout(pair, tmp_path):
    data, _ = pair
    train(config_for(data, str(tmp_path / "one"), accumulate=2))
    assert_same_curve(numbers(data / "dropping"), numbers(tmp_path / "one"))


def test_only_the_main_process_writes_and_speaks(pair):
    data, said = pair
    assert [one["leads"] for one in said] == [True, False]
    steps = [(line["kind"], line["step"], line["contender"], line.get("split")) for line in numbers(data / "alike")]
    assert len(steps) == len(set(steps))
    record = json.loads((data / "alike" / "run.json").read_text())
    assert (record["task"], record["processes"]) == ("ground", 2)


def test_a_run_of_one_process_goes_on_with_two(pair, tmp_path):
    data, said = pair
    train(config_for(data, str(tmp_path / "one"), **CALM, **LONG))
    assert said[1]["resumed"]["step"] > 10
    assert_same_curve(numbers(data / "started-alone"), numbers(tmp_path / "one"))


def test_a_signal_to_one_process_saves_and_ends_all_and_one_process_goes_on(pair, tmp_path):
    data, said = pair
    assert [one["stopped"] for one in said] == [["Interrupted", 75]] * 2
    at = int((data / "stopped" / "last").resolve().name)
    assert 5 <= at < 40
    train(config_for(data, "stopped", **CALM, **LONG, resume=True))
    train(config_for(data, str(tmp_path / "one"), **CALM, **LONG))
    assert_same_curve(numbers(data / "stopped"), numbers(tmp_path / "one"))


def test_an_error_in_one_process_ends_all(pair):
    _, said = pair
    assert [one["damaged"] for one in said] == [["Elsewhere", 5], ["StoreCorrupt", 3]]


def test_a_loss_that_is_no_number_ends_all_with_the_whole_steps_rows(pair):
    data, said = pair
    assert [one["diverged"] for one in said] == [["VisualThoughtError", 3]] * 2
    (path,) = (data / "diverged").glob("nonfinite-*.json")
    assert len(json.loads(path.read_text())["features"]["z"]["rows"]) == 16


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "launcher", [["torch.distributed.run", "--standalone"], ["accelerate.commands.launch", "--multi_gpu"]]
)
def test_a_launcher_that_is_terminated_leaves_a_run_that_resumes(toys_once, tmp_path, launcher):
    recipe = RECIPE | CALM | LONG | {"steps": 4000, "eval_freq": 1000}
    (tmp_path / "toys.yaml").write_text(yaml.safe_dump(recipe))
    out = tmp_path / "run"
    places = ["--store", toys_once / "store", "--manifest", toys_once / "toys.yaml", "--out", out]
    module, *options = launcher
    count = "--num_processes=2" if module.startswith("accelerate") else "--nproc-per-node=2"
    vtt = tmp_path / "vtt"  # as the console script
    vtt.write_text("from visual_thought.pipeline.cli import main\n\nmain()\n")
    command = [sys.executable, "-m", module, *options, count, vtt, "train", tmp_path / "toys.yaml", *places, "--json"]
    started = subprocess.Popen([str(word) for word in command], env=environment(), start_new_session=True)
    try:
        while not any(line["step"] >= 5 for line in read_journal(out)):
            assert started.poll() is None
            time.sleep(0.05)
        started.send_signal(signal.SIGTERM)
        assert started.wait(timeout=120) != 0
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
    assert 5 <= int((out / "last").resolve().name) < 4000
    last = config_for(toys_once, str(out), **CALM, **LONG | {"steps": 4000, "eval_freq": 1000}, resume=True)
    assert earlier_run(last) is not None
    assert newest_valid(out) == ((out / "last").resolve(), [])


def test_shares_are_the_whole_step_cut_in_order():
    whole = EpochOrder(np.arange(10), 7, seed=3)
    parts = [Share(whole, index, 3) for index in range(3)]
    for step in range(4):
        draws = [part(step) for part in parts]
        assert [len(draw.examples) for draw in draws] == [2, 2, 3]
        assert np.concatenate([draw.examples for draw in draws]).tolist() == whole(step).examples.tolist()
        assert np.concatenate([draw.epochs for draw in draws]).tolist() == whole(step).epochs.tolist()


def test_a_step_with_fewer_examples_than_takers_is_refused(toys_once):
    config = config_for(toys_once, batch_size=7, accumulate=4)
    _refuse_small_steps(config, Team())
    with pytest.raises(ConfigError, match=r"too few examples[\s\S]*2 processes x 4"):
        _refuse_small_steps(config, Team(index=0, count=2))


def test_a_process_alone_exchanges_nothing():
    alone = Team()
    assert alone.main
    assert alone.gather(3) == [3]
    assert alone.share("x") == "x"
    assert alone.any(True)
    assert not alone.any(False)
