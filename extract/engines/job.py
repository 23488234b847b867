"""A worker's side of a job: what it is told, how it shows that it lives, and what it answers.

All three are files of the job's folder, plain JSON and text, so they pass between processes and between machines:

    job.json      the extraction, one share of it; written by the engine
    pulse         two counters: signs of life, and frames run; rewritten in place by the worker
    result.json   frames and seconds, or the error; written last, in one step. Without it the worker is lost.
"""

import json
import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from ...pipeline import errors
from ...pipeline.config import build, to_plain
from ...pipeline.errors import VisualThoughtError
from ...pipeline.place import StoreUrl, parse_place
from ..config import ExtractConfig
from ..share import Share


@dataclass(frozen=True)
class Job:
    """One share of an extraction.

    Args:
        config: the extraction; ``part`` says which share.
        slot: counts the shares of this machine, so that each takes a CUDA device of its own.
        threads: threads of torch; None leaves its default.
    """

    config: ExtractConfig
    slot: int = 0
    threads: int | None = None

    @property
    def share(self) -> Share:
        """The share."""
        return self.config.part or (1, 1)

    def to_text(self) -> str:
        """JSON that :meth:`from_text` reads."""
        store = self.config.store
        cache = str(store.cache) if isinstance(store, StoreUrl) and store.cache else None
        return json.dumps(
            {"config": to_plain(self.config), "cache": cache, "slot": self.slot, "threads": self.threads}, default=str
        )

    @classmethod
    def from_text(cls, text: str) -> "Job":
        """An equal job."""
        data = json.loads(text)
        store = parse_place(data["config"]["store"], cache=data["cache"] and Path(data["cache"]))
        config = build(ExtractConfig, data["config"] | {"store": store}, source="a worker's job")
        return cls(config, data["slot"], data["threads"])


class Pulse(NamedTuple):
    """Signs of life so far, and frames run so far."""

    beats: int = 0
    frames: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a worker says at its end: what it did, or the one error that stopped it."""

    frames: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    error: Exception | None = None

    def to_text(self) -> str:
        """JSON that :meth:`from_text` reads."""
        error = None if self.error is None else _error_json(self.error)
        return json.dumps({"frames": self.frames, "seconds": dict(self.seconds), "error": error})

    @classmethod
    def from_text(cls, text: str) -> "Outcome":
        """The same outcome; an error is of its own class again, and a bug carries its traceback as text."""
        data = json.loads(text)
        error = None if data["error"] is None else _error_from(data["error"])
        return cls(data["frames"], data["seconds"], error)


class Heart:
    """Beats into a file."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        self._pulse = Pulse()
        self.beat(0)

    def beat(self, frames: int) -> None:
        """Show that the worker lives and ran some more frames."""
        self._pulse = Pulse(self._pulse.beats + 1, self._pulse.frames + frames)
        os.pwrite(self._file, b"%020d %020d\n" % self._pulse, 0)

    def close(self) -> None:
        """Beat no more."""
        os.close(self._file)


def write_job(folder: Path, job: Job) -> None:
    """Put a job into its folder."""
    _write(folder / "job.json", job.to_text())


def read_pulse(folder: Path) -> Pulse | None:
    """The pulse of a folder's worker; None if there is none yet."""
    try:
        beats, frames = (folder / "pulse").read_bytes().split()
        return Pulse(int(beats), int(frames))
    except (OSError, ValueError):
        return None


def read_outcome(folder: Path) -> Outcome | None:
    """What a folder's worker said at its end; None if it said nothing yet."""
    try:
        return Outcome.from_text((folder / "result.json").read_text())
    except FileNotFoundError:
        return None


def run_folder(folder: Path) -> int:
    """Run the job of a folder in this process; returns the exit code, which nothing relies on."""
    heart = Heart(folder / "pulse")
    try:
        outcome = run_job(Job.from_text((folder / "job.json").read_text()), heart.beat)
    finally:
        heart.close()
    _write(folder / "result.json", outcome.to_text())
    return 0 if outcome.error is None else getattr(outcome.error, "exit_code", 1)


def run_job(job: Job, beat: Callable[[int], None]) -> Outcome:
    """Run a job in this process; its errors are part of the outcome."""
    try:
        import torch

        from ..run import extract

        beat(0)
        if job.threads is not None:
            torch.set_num_threads(job.threads)
        config = _on_own_device(job.config, job.slot, torch.cuda.device_count())
        done = extract(config, beat=beat)
    except Exception as error:
        return Outcome(error=error)
    return Outcome(done.frames, done.seconds)


def _on_own_device(config: ExtractConfig, slot: int, count: int) -> ExtractConfig:
    """The same extraction; one that may use any CUDA device of several gets the one of its slot."""
    return replace(config, device=f"cuda:{slot % count}") if count > 1 and config.device in ("auto", "cuda") else config


def _error_json(error: Exception) -> dict[str, Any]:
    if not isinstance(error, VisualThoughtError):
        return {"kind": None, "problem": "".join(traceback.format_exception(error))}
    said = {name: _plain(getattr(error, name)) for name in ("problem", "found", "expected", "remedy")}
    return {"kind": type(error).__name__} | said


def _error_from(data: dict[str, Any]) -> Exception:
    kind = getattr(errors, str(data["kind"]), None)
    if kind is None:
        return RuntimeError(f"a worker met a bug:\n{data['problem']}")
    error: Exception = kind(data["problem"], found=data["found"], expected=data["expected"], remedy=data["remedy"])
    return error


def _plain(value: object) -> object:
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else None if value is None else str(value)


def _write(path: Path, text: str) -> None:
    """Write a file under its final name in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)
