"""Workers that are processes of this machine."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import torch

from ..config import ExtractConfig
from .config import EngineConfig
from .job import Job, Outcome, Pulse, read_outcome, read_pulse, write_job
from .supervise import Start, Worker

# -P: the folder a user stands in may hold a package of a library's name
COMMAND = (sys.executable, "-P", "-m", "visual_thought.extract.engines.worker")
_STDERR = 2


class Process:
    """One job in a process of its own: ``command`` and, as last words, the job's folder and this process's id."""

    def __init__(self, folder: Path, command: Sequence[str] = COMMAND) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [*command, str(folder), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=_STDERR,  # standard output is the command's answer
            start_new_session=True,  # a Ctrl-C is the parent's to pass on
        )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    @property
    def end(self) -> str:
        """How it ended, in words."""
        code = self._process.poll()
        if code is None or code >= 0:
            return f"process {self._process.pid} ended with exit code {code}"
        return f"process {self._process.pid} was killed by {signal.Signals(-code).name}"

    def outcome(self) -> Outcome | None:
        """What it said."""
        return read_outcome(self._folder)

    def pulse(self) -> Pulse | None:
        """How far it is; a process counts as started at once."""
        return read_pulse(self._folder) or Pulse()

    def stop(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it, and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def run_here(engine: EngineConfig, config: ExtractConfig) -> Iterator[Start]:  # noqa: ARG001
    """Start jobs on this machine."""
    threads = engine.threads or torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="vtt-jobs-") as root:

        def start(jobs: Sequence[Job]) -> list[Worker]:
            return [Process(_prepared(root, replace(job, threads=threads))) for job in jobs]

        yield start


def _prepared(root: str, job: Job) -> Path:
    folder = Path(tempfile.mkdtemp(dir=root))
    write_job(folder, job)
    return folder
