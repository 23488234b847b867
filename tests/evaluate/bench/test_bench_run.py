"""The bench of the store as a whole: everybody measured, every bar said, nothing left behind."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from visual_thought.evaluate.bench.features import refuse_small_disk
from visual_thought.evaluate.bench.readers import PREADV, TAKE
from visual_thought.evaluate.bench.reading import ALWAYS, VERIFIED
from visual_thought.evaluate.bench.run import bench_store
from visual_thought.evaluate.bench.stalling import RING, SYNC
from visual_thought.pipeline.cli import run
from visual_thought.pipeline.errors import ConfigError, MachineError, StoreError

from .toy_bench import ROWS, SHAPES, make_short

READERS = [TAKE, PREADV, *VERIFIED, *ALWAYS, "zarr-python", "h5py"]
WRITERS = ["write + fsync", "our Zarr", "our HDF5", "our Zarr, two parts at once"]
SMALL = {"rows": ROWS, "rounds": 1, "shapes": SHAPES, "batches": (8, 16), "libraries": False, "quiet": True}


@pytest.fixture(scope="module")
def benched(tmp_path_factory):
    """A bench, the folder it was in, and how SIGTERM was handled before."""
    folder, before = tmp_path_factory.mktemp("disk"), signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        make_short(patch)
        return bench_store(folder, **SMALL), folder, before


@pytest.mark.slow
def test_every_contender_is_there_with_ratio_and_control(benched):
    cases = json.loads(json.dumps(benched[0].to_json(), allow_nan=False))["cases"]
    assert [len(case["lines"]) for case in cases] == [8, 8, 2, 4, 3]
    for case, size in zip(cases, (8, 16), strict=False):
        assert f"batches of {size} rows" in case["title"]
        assert [line["name"] for line in case["lines"]] == READERS
        assert all({"to np.take", "to preadv"} <= line["ratios"].keys() for line in case["lines"])
    assert [line["name"] for line in cases[2]["lines"]] == [RING, SYNC]
    assert [line["name"] for line in cases[3]["lines"]] == WRITERS
    for case in (cases[0], cases[1], cases[3]):
        assert all(line["control"]["low"] > 0 for line in case["lines"])
    assert cases[2]["lines"][0]["control"] is not None
    for line in [line for case in cases for line in case["lines"]]:
        assert all(ratio["low"] <= ratio["median"] <= ratio["high"] for ratio in line["ratios"].values())


@pytest.mark.slow
def test_every_bar_is_said_and_those_that_are_not_met_are_listed(benched):
    bench = benched[0]
    bars = [bar for case in bench.cases for line in case.lines for bar in line.bars]
    assert len(bench.unmet) == sum(not bar.met for bar in bars)
    assert f"{len(bars) - len(bench.unmet)} of {len(bars)} bars met" in bench.render()
    assert {bar.wanted for bar in bars} >= {">= 0.80 of np.take", ">= 0.55 of np.take", "waits < 0.5 ms"}


@pytest.mark.slow
def test_the_memory_of_a_reader_keeps_its_bar(benched):
    """The one bar that no busy machine changes."""
    small, large, each = benched[0].cases[-1].lines
    assert [bar.met for bar in each.bars] == [True]
    assert (small.name, large.name) == ("reader of 256 rows", "reader of 2560 rows")


@pytest.mark.slow
def test_the_place_and_what_was_simulated_are_said(benched):
    bench, folder, _ = benched
    assert bench.place.startswith(f"{folder} (")
    assert f"{os.cpu_count()} cores; simulated features" in bench.place
    assert f"{ROWS} rows" in bench.place


@pytest.mark.slow
def test_nothing_is_left_behind_and_signals_are_as_before(benched):
    _, folder, before = benched
    assert list(folder.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_error_on_the_way_leaves_nothing_either(tmp_path):
    with pytest.raises(StoreError, match="Z"):
        bench_store(tmp_path, **SMALL | {"shapes": {"Z": (3, 4)}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("most", [1 << 10, 1 << 13])
def test_a_disk_that_is_full_on_the_way_is_named_and_left_as_it_was(tmp_path, most):
    """The first bound stops the plain files, the second those of a store."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        with pytest.raises(MachineError, match=r"cannot be written|no room") as error:
            bench_store(tmp_path, **SMALL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.exit_code == 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_signal_ends_it_and_leaves_nothing(tmp_path):
    script = Path(__file__).parent / "benching.py"
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        said = b""
        while b"batches of 8" not in said:  # the bar of its endless rounds
            said += process.stderr.read1(1 << 10)
            assert process.poll() is None, said.decode()
        assert any(tmp_path.glob(".vtt-bench-*/z.npy"))
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert output == b"interrupted\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("rows", "rounds"), [(15, 1), (0, 1), (-3, 1), (16, 0), (16, -1)])
def test_too_little_to_measure_is_refused(tmp_path, rows, rounds):
    with pytest.raises(ConfigError, match="at least 16 rows and 1 round"):
        bench_store(tmp_path, **SMALL | {"rows": rows, "rounds": rounds})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--rows", "255"], 2, "at least 256 rows"),
        (["--rounds", "0"], 2, "1 round"),
        (["--rows", "many"], 2, "valid integer"),
        (["--rows", "10000000000"], 5, "not enough space"),
        (["--dir", "nowhere"], 5, "nowhere cannot be written"),
        (["--dir", "file"], 5, "file cannot be written"),
    ],
)
def test_the_command_says_what_is_wrong_and_writes_nothing(tmp_path, monkeypatch, capsys, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    assert run(["bench", "store", *arguments, "--json"]) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert said in output.err
    assert "Traceback" not in output.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_space_that_is_needed_and_the_space_that_is_free_are_said(tmp_path):
    refuse_small_disk(tmp_path, 1)
    with pytest.raises(MachineError, match=r"expected: +1000000000\.00 GB") as error:
        refuse_small_disk(tmp_path, 10**18)
    assert error.value.exit_code == 5
    assert "GB free" in error.value.found
