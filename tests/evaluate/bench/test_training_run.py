"""The bench of the training as a whole, at its tiny size: the table holds together, nothing stays behind."""

import json
import multiprocessing
import os
import signal
import threading

import pytest

from visual_thought.evaluate.bench.training import FULL, MEMORY, RAM, WINDOW, zarr_name
from visual_thought.evaluate.bench.training_epoch import CACHED, EXTRACTION, FLOPS, LOOP, PAID, REACHED, TO_LOOP
from visual_thought.evaluate.bench.training_run import SIZES, bench_train
from visual_thought.pipeline.cli import run
from visual_thought.pipeline.errors import ConfigError, MachineError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # importing LeRobot alone takes up to a minute
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "tiny", SIZES["tiny"]._replace(steps=1))
        found = bench_train(folder, sizes=["tiny"], rounds=1, workers=(0,), quiet=True)
    assert list(folder.iterdir()) == []
    assert multiprocessing.active_children() == []
    libraries = ("MainThread", "zarr", "asyncio", "ThreadPoolExecutor", "pymp", "tqdm")  # zarr-python keeps a pool
    assert [thread.name for thread in threading.enumerate() if not thread.name.startswith(libraries)] == []
    return found


def test_steps_epoch_and_memory_are_measured(bench):
    steps, epoch, memory = bench.cases
    assert [line.name for line in steps.lines] == [MEMORY, FULL, WINDOW, RAM, zarr_name(0)]
    assert [line.name for line in epoch.lines] == [CACHED, LOOP, EXTRACTION, FLOPS, REACHED]
    assert [bar.met for line in memory.lines for bar in line.bars] == [True]


def test_the_epoch_says_what_it_costs_when_it_pays_and_what_arithmetic_allows(bench):
    lines = {line.name: line for line in bench.cases[1].lines}
    assert "ms a row" in lines[CACHED].pace
    assert "s an epoch" in lines[LOOP].pace
    assert lines[EXTRACTION].ratios[PAID].median > 0
    allowed, reached = lines[FLOPS].ratios[TO_LOOP].median, lines[REACHED].ratios["share"].median
    assert allowed > 1
    assert reached == pytest.approx(lines[CACHED].ratios[TO_LOOP].median / allowed)


def test_the_tiny_size_is_held_against_no_bar_of_speed(bench):
    assert [bar.wanted for case in bench.cases for line in case.lines for bar in line.bars] == ["< 16 GiB"]
    assert "1 of 1 bars met" in bench.render()


def test_it_is_plain_data_and_says_where_it_ran(bench):
    said = json.loads(json.dumps(bench.to_json(), allow_nan=False))
    assert f"{os.cpu_count()} cores" in said["place"]
    assert "simulated features" in said["place"]


def test_the_full_size_is_held_against_both_bars():
    assert [SIZES[size].bars for size in ("tiny", "full-size")] == [False, True]
    assert [SIZES[size].recipe for size in ("tiny", "full-size")] == ["ground-world", "ground"]


@pytest.mark.parametrize("wrong", [{"sizes": []}, {"rounds": 0}, {"rounds": -1}])
def test_nothing_to_measure_is_refused(tmp_path, wrong):
    with pytest.raises(ConfigError, match="nothing to measure"):
        bench_train(tmp_path, **wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--rounds", "0"], 2, "nothing to measure"),
        (["--rounds", "many"], 2, "valid integer"),
        (["--dir", "nowhere"], 5, "nowhere cannot be written"),
        (["--dir", "file"], 5, "file cannot be written"),
    ],
)
def test_the_command_says_what_is_wrong_and_writes_nothing(tmp_path, monkeypatch, capsys, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    assert run(["bench", "train", "--tiny", *arguments, "--json"]) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert said in output.err
    assert "Traceback" not in output.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(SIZES, "tiny", SIZES["tiny"]._replace(needed_bytes=10**18))
    with pytest.raises(MachineError, match="not enough space"):
        bench_train(tmp_path, sizes=["tiny"])
    assert list(tmp_path.iterdir()) == []


def test_a_signal_on_the_way_ends_it_and_leaves_nothing(tmp_path, monkeypatch):
    def told_to_stop(directory):
        directory.mkdir(parents=True)
        (directory / "half").write_text("written")
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("nobody stopped")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setitem(SIZES, "tiny", SIZES["tiny"]._replace(write=told_to_stop))
    with pytest.raises(KeyboardInterrupt):
        bench_train(tmp_path, sizes=["tiny"], quiet=True)
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before
