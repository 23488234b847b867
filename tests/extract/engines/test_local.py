"""Workers that are processes of this machine make the store of one process, whatever happens to them."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from visual_thought.extract.config import ExtractConfig
from visual_thought.extract.engines.config import EngineConfig
from visual_thought.extract.engines.job import Job, Outcome, read_outcome, run_folder, write_job
from visual_thought.extract.engines.local import COMMAND
from visual_thought.extract.engines.run import extract_with, first_unfinished
from visual_thought.extract.plan import plan
from visual_thought.extract.run import extract
from visual_thought.pipeline.errors import Interrupted, StoreMismatch, VisualThoughtError, WeightsError
from visual_thought.pipeline.place import StoreUrl
from visual_thought.pipeline.store.compare import differences_of

from .conftest import descendants, lose_one, receipts

WORKER = "engines.worker"
TWO = EngineConfig("local", 2, threads=1)


@pytest.fixture
def asked(both_cameras: ExtractConfig, tmp_path: Path) -> ExtractConfig:
    """The extraction of the single store, into another one."""
    return replace(both_cameras, store=tmp_path / "store")


@pytest.mark.slow
def test_two_workers_of_which_one_is_killed_make_the_store_of_one_process(
    asked: ExtractConfig, single: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with lose_one(asked.store, WORKER) as lost:
        answer = extract_with(asked, TWO)
    assert len(lost) == 1
    assert "killed by SIGKILL; another worker takes over" in caplog.text
    assert differences_of(single, asked.store) == []
    assert [(feature.parts_written, feature.parts_reused) for feature in answer.features] == [(5, 0), (5, 0)]
    assert descendants(WORKER) == []
    again = extract_with(asked, TWO)
    assert again.frames == 0
    assert [(feature.parts_written, feature.parts_reused) for feature in again.features] == [(0, 5), (0, 5)]


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(asked: ExtractConfig, single: Path, caplog: pytest.LogCaptureFixture) -> None:
    with lose_one(asked.store, WORKER, signal.SIGSTOP) as stopped:
        extract_with(asked, replace(TWO, stall_s=40.0))
    assert len(stopped) == 1
    assert "no sign of life" in caplog.text
    assert differences_of(single, asked.store) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_to_the_command_ends_even_a_worker_that_hangs_and_the_same_command_resumes(
    asked: ExtractConfig, number: signal.Signals, tmp_path: Path
) -> None:
    asked = replace(asked, image_size=(112, 112))  # takes long enough to be stopped in the middle
    write_job(tmp_path, Job(asked, threads=1))
    code = """if True:
        import pathlib, sys
        from visual_thought.extract.engines.config import EngineConfig
        from visual_thought.extract.engines.job import Job
        from visual_thought.extract.engines.run import extract_with
        from visual_thought.pipeline.errors import Interrupted
        job = Job.from_text(pathlib.Path(sys.argv[1]).read_text())
        try:
            extract_with(job.config, EngineConfig("local", 2, threads=1, stop_s=5.0))
        except Interrupted as error:
            sys.exit(error.exit_code)
    """
    command = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "job.json")])
    try:
        began = time.monotonic()
        while not receipts(asked.store):
            assert command.poll() is None
            assert time.monotonic() - began < 120
            time.sleep(0.02)
        os.kill(descendants(WORKER)[0], signal.SIGSTOP)  # one that cannot listen
        command.send_signal(number)
        sent = time.monotonic()
        assert command.wait(60) == Interrupted.exit_code
        assert time.monotonic() - sent < 30
    finally:
        command.kill()
        command.wait()
    assert descendants(WORKER) == []
    there = len(receipts(asked.store))
    assert 0 < there < 10
    answer = extract_with(asked, TWO)
    assert sum(feature.parts_reused for feature in answer.features) == there
    extract(replace(asked, store=tmp_path / "alone"))
    assert differences_of(tmp_path / "alone", asked.store) == []


def test_workers_die_with_a_parent_that_is_killed(asked: ExtractConfig, tmp_path: Path) -> None:
    write_job(tmp_path, Job(asked, threads=1))
    code = (
        "import pathlib, sys, time; from visual_thought.extract.engines.local import Process; "
        "worker = Process(pathlib.Path(sys.argv[1])); print(worker.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    began = time.monotonic()
    while not (tmp_path / "pulse").exists():
        assert time.monotonic() - began < 60
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    while is_running(worker):
        assert time.monotonic() - began < 60
        time.sleep(0.02)
    assert read_outcome(tmp_path) is None


@pytest.mark.slow
def test_two_engines_at_once_on_one_store_do_no_harm_and_a_part_is_shared_out_too(
    asked: ExtractConfig, single: Path, tmp_path: Path
) -> None:
    write_job(tmp_path, Job(replace(asked, part=(2, 3)), threads=1))
    other = subprocess.Popen([*COMMAND, str(tmp_path), str(os.getpid())])
    answer = extract_with(replace(asked, part=(2, 2)), TWO)
    assert [feature.parts_written for feature in answer.features] == [3, 3]
    assert other.wait(120) == 0
    assert extract(replace(asked, part=(1, 2))).features[0].parts_reused == 1
    assert differences_of(single, asked.store) == []


@pytest.mark.slow
def test_what_one_worker_cannot_do_is_said_once_as_one_process_would(asked: ExtractConfig, xvla_with) -> None:
    folder = xvla_with()
    spoiled = folder / "model.safetensors"
    spoiled.write_bytes(spoiled.read_bytes()[:-1000])
    spoiled_config = replace(asked, checkpoint=str(folder))
    with pytest.raises(WeightsError) as alone:
        extract(replace(spoiled_config, store=asked.store.with_name("alone")))
    with pytest.raises(WeightsError) as shared:
        extract_with(spoiled_config, TWO)
    assert str(shared.value) == str(alone.value)
    assert receipts(asked.store) == []


def test_the_first_part_without_a_receipt_is_named_by_its_frames(asked: ExtractConfig) -> None:
    arrays = [array for feature in plan(asked).features for array in feature.arrays]
    assert first_unfinished(asked, arrays[1:]) == (
        f"part 000000 of {arrays[1].spec.key} (episode 0, main, frame 0 to episode 0, top, frame 37)"
    )
    extract(replace(asked, part=(1, 2)))
    assert "part 000002" in str(first_unfinished(asked, arrays))
    extract(asked)
    assert first_unfinished(asked, arrays) is None


def test_a_job_and_its_outcome_pass_through_a_file(asked: ExtractConfig, tmp_path: Path) -> None:
    url = StoreUrl("s3://bucket/store", tmp_path / "cache")
    for store in (asked.store, url):
        config = replace(asked, manifest=str(asked.manifest), store=store, part=(2, 3), expect_fingerprint={"z": "ab"})
        job = Job.from_text(Job(config, slot=3, threads=2).to_text())
        assert job == Job(config, slot=3, threads=2)
    assert job.config.store.cache == tmp_path / "cache"
    error = StoreMismatch("two", found=["a", "b"], expected=3, remedy="none")
    back = Outcome.from_text(Outcome(error=error).to_text()).error
    assert type(back) is StoreMismatch
    assert str(back) == str(error)
    bug = Outcome.from_text(Outcome(error=ZeroDivisionError("by zero")).to_text()).error
    assert not isinstance(bug, VisualThoughtError)
    assert "by zero" in str(bug)


def test_an_error_in_a_folder_is_its_answer(tmp_path: Path) -> None:
    write_job(tmp_path, Job(ExtractConfig("no_such_manifest", tmp_path / "store")))
    assert run_folder(tmp_path) == 3
    outcome = read_outcome(tmp_path)
    assert outcome is not None
    assert "no_such_manifest" in str(outcome.error)
    assert json.loads((tmp_path / "result.json").read_text())["error"]["kind"] == "ManifestError"


def is_running(pid: int) -> bool:
    """Whether a process runs, zombies left aside."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
