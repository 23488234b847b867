"""The watch over workers, on real processes that do little."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from visual_thought.extract.config import ExtractConfig
from visual_thought.extract.engines.config import EngineConfig
from visual_thought.extract.engines.job import Job
from visual_thought.extract.engines.local import Process
from visual_thought.extract.engines.supervise import supervise
from visual_thought.pipeline.errors import ConfigError, DatasetError, Interrupted, MachineError
from visual_thought.pipeline.interrupt import Stop

BEGIN = "import json, os, pathlib, signal, sys, time; folder = pathlib.Path(sys.argv[1]); "
BEAT = "(folder / 'pulse').write_text('{} {}'); "
FINISH = "(folder / 'result.json').write_text(json.dumps({'frames': 3, 'seconds': {'write': 1.0}, 'error': None}))"
HANG = "time.sleep(600)"
DIE = "os.kill(os.getpid(), signal.SIGKILL)"
FAIL = (
    "(folder / 'result.json').write_text(json.dumps({'frames': 0, 'seconds': {}, 'error': {'kind': 'DatasetError', "
    "'problem': 'no frame 7', 'found': None, 'expected': ['a', 'b'], 'remedy': None}}))"
)


class Scripts:
    """Starts one script after another, each as a worker of its own, and counts."""

    def __init__(self, folder: Path, scripts: Sequence[str]) -> None:
        self.folder, self.scripts = folder, list(scripts)
        self.started: list[Process] = []
        self.shares: list[tuple[int, int]] = []

    def __call__(self, jobs: Sequence[Job]) -> list[Process]:
        return [self.begin(job) for job in jobs]

    def begin(self, job: Job) -> Process:
        folder = self.folder / str(len(self.started))
        folder.mkdir()
        self.shares.append(job.share)
        worker = Process(folder, [sys.executable, "-c", BEGIN + self.scripts.pop(0)])
        self.started.append(worker)
        return worker


@pytest.fixture
def watch(tmp_path: Path) -> Callable[..., tuple[Scripts, Callable[[], list[int]]]]:
    """``scripts, run = watch([…], workers=2, stall_s=1)``: ``run()`` returns the frames of the outcomes."""

    def make(scripts: Sequence[str], jobs: int = 1, stop: Stop | None = None, **bounds: float):
        engine = EngineConfig(**({"workers": 2, "stall_s": 60.0, "stop_s": 5.0} | bounds))
        shares = [Job(ExtractConfig("m", Path("s"), part=(k, jobs))) for k in range(1, jobs + 1)]
        start, seen = Scripts(tmp_path, scripts), []

        def unfinished(job: Job) -> str | None:
            left = f"part {job.share[0]} of r"
            return None if scripts[-1] == "died at the end" else left

        def run() -> list[int]:
            done = supervise(
                shares,
                start,
                engine=engine,
                unfinished=unfinished,
                stop=Stop() if stop is None else stop,
                show=seen.append,
            )
            return [outcome.frames for outcome in done] + [sum(seen)]

        return start, run

    return make


def alive(scripts: Scripts) -> list[int]:
    return [worker.pid for worker in scripts.started if Path(f"/proc/{worker.pid}").exists() and not worker.ended]


def test_every_job_runs_once_and_no_more_than_the_workers_at_once(watch):
    scripts, run = watch([FINISH] * 5, jobs=5)
    assert run() == [3] * 5 + [0]
    assert sorted(scripts.shares) == [(k, 5) for k in range(1, 6)]


def test_frames_are_shown_as_they_run(watch):
    _, run = watch([BEAT.format(1, 8) + "time.sleep(0.5); " + BEAT.format(2, 20) + FINISH])
    assert run() == [3, 20]


def test_the_share_of_a_worker_that_died_goes_to_another(watch, caplog):
    scripts, run = watch([DIE, DIE, FINISH])
    assert run() == [3, 0]
    assert len(scripts.started) == 3
    assert "killed by SIGKILL; another worker takes over at part 1 of r" in caplog.text


def test_a_part_that_costs_too_many_workers_is_named(watch):
    scripts, run = watch([DIE, DIE, DIE, FINISH], attempts=3)
    with pytest.raises(MachineError, match=r"3 workers were lost before part 1 of r was finished") as caught:
        run()
    assert "SIGKILL" in str(caught.value)
    assert len(scripts.started) == 3


def test_a_worker_without_a_sign_of_life_is_killed_and_replaced(watch, caplog):
    scripts, run = watch([BEAT.format(1, 0) + HANG, FINISH], stall_s=1.0)
    assert run() == [3, 0]
    assert alive(scripts) == []
    assert "no sign of life" in caplog.text


@pytest.mark.slow
def test_a_worker_that_beats_is_left_alone(watch):
    script = "[((folder / 'pulse').write_text(f'{k} 0'), time.sleep(0.3)) for k in range(8)]; " + FINISH
    scripts, run = watch([script], stall_s=1.0)
    assert run() == [3, 0]
    assert len(scripts.started) == 1


def test_a_worker_that_died_after_its_last_receipt_is_not_missed(watch):
    scripts, run = watch([DIE, "died at the end"])
    assert run() == [0, 0]
    assert len(scripts.started) == 1


def test_an_error_of_one_worker_ends_the_others_and_is_raised_as_it_was(watch):
    scripts, run = watch([HANG, FAIL], jobs=2)
    with pytest.raises(DatasetError, match="no frame 7") as caught:
        run()
    assert caught.value.expected == ["a", "b"]
    assert alive(scripts) == []


def test_a_signal_ends_workers_within_the_bound_even_those_that_do_not_listen(watch):
    stop = Stop()
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN); " + BEAT.format(1, 0) + HANG
    scripts, run = watch([deaf, HANG], jobs=2, stop=stop, stop_s=1.0)

    def ask() -> None:
        while len(scripts.started) < 2 or not (scripts.folder / "0" / "pulse").exists():
            time.sleep(0.01)
        stop.signal = "SIGTERM"

    thread = threading.Thread(target=ask)
    thread.start()
    began = time.monotonic()
    with pytest.raises(Interrupted, match="stopped by SIGTERM"):
        run()
    thread.join()
    assert time.monotonic() - began < 10
    assert alive(scripts) == []
    assert scripts.started[0].end.endswith(signal.SIGKILL.name)


@pytest.mark.parametrize(
    "bad", [{"engine": "slrum"}, {"workers": 0}, {"stall_s": -1.0}, {"threads": 0}, {"options": {"partition": "gpu"}}]
)
def test_bounds_that_cannot_be_meant_are_refused(bad):
    with pytest.raises(ConfigError):
        EngineConfig(**bad)
