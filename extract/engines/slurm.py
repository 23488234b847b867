"""Workers that are the tasks of a SLURM array job, through submitit.

Job files, pulses and results lie in a folder that every node sees. SLURM's own requeueing of a preempted job and our
replacing of a lost one are the same thing to the store: the share starts again and finds its receipts.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from ...pipeline.config import parse_yaml
from ...pipeline.errors import ConfigError, MachineError, MissingDependency, VisualThoughtError
from ..config import ExtractConfig
from .config import EngineConfig
from .job import Job, Outcome, Pulse, read_outcome, read_pulse, run_folder, write_job
from .supervise import LOOK_S, Start, Worker

CLUSTERS = ("slurm", "local")
GENERIC = ("name", "timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node", "stderr_to_stdout")
"""submitit's parameters that are not SLURM's alone."""

QUEUED = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING", "SUSPENDED")
"""States in which a job is not expected to do anything."""

TRIAL_MINUTES = 7 * 24 * 60
SHARED_DISK_S = 5.0
"""Seconds after a job's end within which its answer may still be on its way through a network disk."""


class Task:
    """What a node runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self) -> None:
        """Run the job; called by submitit."""
        run_folder(self._folder)

    def checkpoint(self) -> Any:
        """What to run after a preemption or the end of the allotted time: the same."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


class ArrayTask:
    """One job of an array."""

    def __init__(self, folder: Path, job: Any) -> None:
        self._folder, self._job = folder, job
        self._gone_s: float | None = None

    @property
    def ended(self) -> bool:
        """Whether it is gone, and its answer would have arrived."""
        if not self._job.done():
            return False
        self._gone_s = self._gone_s or time.monotonic()
        return read_outcome(self._folder) is not None or time.monotonic() - self._gone_s > SHARED_DISK_S

    @property
    def end(self) -> str:
        """How it ended, in words."""
        return f"job {self._job.job_id} ended without an answer (state {self._job.state}, log {self._job.paths.stderr})"

    def outcome(self) -> Outcome | None:
        """What it said."""
        return read_outcome(self._folder)

    def pulse(self) -> Pulse | None:
        """How far it is; None while it is queued, be it again."""
        return None if str(self._job.state) in QUEUED else read_pulse(self._folder)

    def stop(self) -> None:
        """Cancel it: SIGTERM, and SIGKILL a while later."""
        with suppress(Exception):  # it may be gone by now
            self._job.cancel(check=False)

    def kill(self) -> None:
        """Cancel it and see it go, or leave that to SLURM."""
        self.stop()
        deadline = time.monotonic() + SHARED_DISK_S
        while not self._job.done() and time.monotonic() < deadline:
            time.sleep(LOOK_S)


@contextmanager
def run_on_slurm(engine: EngineConfig, config: ExtractConfig) -> Iterator[Start]:
    """Submit jobs as an array.

    Raises:
        MissingDependency: submitit is not installed.
        MachineError: SLURM is not there.
        ConfigError: a parameter is not one.
    """
    submitit = _import_submitit()
    root = _folder(engine, config)
    try:
        executor = _executor(submitit, engine.options, root / "logs")
    except VisualThoughtError:
        _remove(root)
        raise

    def start(jobs: Sequence[Job]) -> list[Worker]:
        folders = []
        for job in jobs:
            folder = Path(tempfile.mkdtemp(dir=root))
            write_job(folder, replace(job, slot=0, threads=engine.threads))
            folders.append(folder)
        with executor.batch():
            submitted = [executor.submit(Task(folder)) for folder in folders]
        return [ArrayTask(folder, job) for folder, job in zip(folders, submitted, strict=True)]

    yield start
    _remove(root)  # kept if anything went wrong: the logs are in it


def _import_submitit() -> ModuleType:
    try:
        import submitit
    except ImportError as error:
        raise MissingDependency(
            "the engine slurm needs submitit", remedy="pip install 'visual-thought[slurm]'"
        ) from error
    module: ModuleType = submitit
    return module


def _folder(engine: EngineConfig, config: ExtractConfig) -> Path:
    place = config.store if isinstance(config.store, Path) else Path(config.store.rest.split("/")[-1])
    parent = (engine.folder or place.with_name(place.name + ".jobs")).absolute()
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=parent))  # 0700: what is read back from it runs with our rights


def _remove(root: Path) -> None:
    shutil.rmtree(root)
    with suppress(OSError):  # another run's folder is beside it
        root.parent.rmdir()


def _executor(submitit: ModuleType, options: Mapping[str, object], logs: Path) -> Any:
    values = {name: parse_yaml(text, source=name) if isinstance(text, str) else text for name, text in options.items()}
    cluster = values.pop("cluster", "slurm")
    if cluster not in CLUSTERS:
        raise ConfigError("there is no such cluster", found=cluster, expected=CLUSTERS)
    parameters = {name if name in GENERIC else f"slurm_{name}": value for name, value in values.items()}
    if cluster == "local":
        parameters = {"timeout_min": TRIAL_MINUTES} | parameters
    try:
        executor = submitit.AutoExecutor(logs, cluster=cluster, **{f"{cluster}_python": f"{sys.executable} -P"})
        executor.update_parameters(**({"name": "vtt-extract"} | parameters))
    except RuntimeError as error:  # it looked for srun
        raise MachineError(
            "this machine has no SLURM",
            found=str(error),
            remedy="run the same command on a login node; --slurm cluster=local tries it on this machine",
        ) from error
    except (NameError, AssertionError, ValueError) as error:
        raise ConfigError("SLURM does not take this", found=str(error), expected="parameters of submitit") from error
    return executor
