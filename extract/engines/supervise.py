"""The watch over workers, whatever runs them.

A worker ends in one of four ways: it finished; it met an error, which ends the extraction as it would end one process;
it is gone without a word; it shows no sign of life for too long and is killed. After the last two its share is given
to another worker, which finds the parts that have receipts. One part may cost a bounded number of workers.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ...pipeline.errors import Interrupted, MachineError, Stalled
from ...pipeline.interrupt import Stop
from .config import EngineConfig
from .job import Job, Outcome, Pulse

LOOK_S = 0.2
"""Seconds between two looks at the workers."""

_log = logging.getLogger(__name__)


class Worker(Protocol):
    """One job that runs somewhere."""

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""

    @property
    def end(self) -> str:
        """How it ended, for people."""

    def outcome(self) -> Outcome | None:
        """What it said at its end; None if it is gone without a word."""

    def pulse(self) -> Pulse | None:
        """How far it is; None while it waits for its turn."""

    def stop(self) -> None:
        """Ask it to end soon; does not wait."""

    def kill(self) -> None:
        """End it now."""


Start = Callable[[Sequence[Job]], Sequence[Worker]]
"""Starts jobs, a worker each."""


@dataclass
class Running:
    """A worker, its job, and when it last showed a sign of life (monotonic seconds)."""

    job: Job
    worker: Worker
    pulse: Pulse | None = None
    alive_s: float = field(default_factory=time.monotonic)

    def look(self) -> None:
        """Take its pulse."""
        pulse = self.worker.pulse()
        if pulse is None or pulse != self.pulse:
            self.pulse, self.alive_s = pulse, time.monotonic()

    @property
    def still_s(self) -> float:
        """Seconds without a sign of life."""
        return time.monotonic() - self.alive_s


def supervise(
    jobs: Iterable[Job],
    start: Start,
    *,
    engine: EngineConfig,
    unfinished: Callable[[Job], str | None],
    stop: Stop,
    show: Callable[[int], None],
) -> list[Outcome]:
    """Run jobs until all are finished; no worker is left when this returns or raises.

    Args:
        jobs: at most ``engine.workers`` of them run at once.
        start: starts some.
        engine: the bounds.
        unfinished: the first part of a job without a receipt, in words; None if there is none.
        stop: set by a signal.
        show: told of the frames that ran since it was last told.

    Raises:
        Interrupted: stopped by a signal.
        MachineError: one part cost ``engine.attempts`` workers.
        VisualThoughtError: what a worker met.
    """
    watch = _Watch(deque(jobs), engine, unfinished)
    try:
        while watch.waiting or watch.running:
            if stop:
                raise Interrupted(f"stopped by {stop.signal}", remedy="run the same command again to resume")
            watch.start(start)
            for one in list(watch.running):
                watch.look(one, show)
            time.sleep(LOOK_S)
    finally:
        end_all([one.worker for one in watch.running], engine.stop_s)
    return watch.done


def end_all(workers: Sequence[Worker], stop_s: float) -> None:
    """Ask workers to end, and kill those that have not within ``stop_s`` seconds."""
    deadline = time.monotonic() + stop_s
    try:
        for worker in workers:
            if not worker.ended:
                worker.stop()
        while any(not worker.ended for worker in workers) and time.monotonic() < deadline:
            time.sleep(LOOK_S)
    finally:  # a second Ctrl-C too
        for worker in workers:
            if not worker.ended:
                worker.kill()


@dataclass
class _Watch:
    waiting: deque[Job]
    engine: EngineConfig
    unfinished: Callable[[Job], str | None]
    running: list[Running] = field(default_factory=list)
    done: list[Outcome] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)

    def start(self, start: Start) -> None:
        """Fill the places that are free."""
        free = min(self.engine.workers - len(self.running), len(self.waiting))
        if free > 0:
            jobs = [self.waiting.popleft() for _ in range(free)]
            self.running += [Running(job, worker) for job, worker in zip(jobs, start(jobs), strict=True)]

    def look(self, one: Running, show: Callable[[int], None]) -> None:
        """See how one worker does."""
        ended, before = one.worker.ended, one.pulse or Pulse()
        one.look()
        show(max(0, (one.pulse or before).frames - before.frames))
        if ended:
            self.running.remove(one)
            self._ended(one)
        elif one.still_s > self.engine.stall_s:
            one.worker.kill()
            self.running.remove(one)
            self._lost(one.job, f"a worker showed no sign of life for {one.still_s:.0f} s and was killed")

    def _ended(self, one: Running) -> None:
        outcome = one.worker.outcome()
        if outcome is None or isinstance(outcome.error, Interrupted | Stalled):  # stopped by somebody else, or stuck
            self._lost(one.job, one.worker.end if outcome is None else f"a worker was {outcome.error}".splitlines()[0])
        elif outcome.error is not None:
            raise outcome.error
        else:
            self.done.append(outcome)

    def _lost(self, job: Job, how: str) -> None:
        part = self.unfinished(job)
        if part is None:  # it died after its last receipt
            self.done.append(Outcome())
            return
        self.lost[part] += 1
        if self.lost[part] >= self.engine.attempts:
            raise MachineError(
                f"{self.lost[part]} workers were lost before {part} was finished",
                found=f"last, {how}",
                remedy="see above what the workers said. SIGKILL is often the system's answer to full memory: "
                "use fewer workers or a smaller batch size; finished parts stay, the same command resumes",
            )
        _log.warning("%s; another worker takes over at %s", how, part)
        self.waiting.append(job)
