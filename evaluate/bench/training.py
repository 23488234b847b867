"""Steps of the real training loop from the store, beside the same steps on one batch that stays in memory."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...train.loader import Loaded, Loader
from ...train.loop import take_step, train_order
from ...train.sampling import Draw
from ...train.state import Run, open_loader
from .rounds import AGAIN, Seconds, Spread, control, interleave, speed
from .table import Bar, Case, Line
from .training_data import in_memory, with_loader
from .training_zarr import ZarrEpochs

MEMORY, FULL, WINDOW, RAM = (
    "one batch in memory",
    "our store, shuffle=full",
    "our store, shuffle=window",
    "our store, residency=ram",
)
OURS = (FULL, WINDOW, RAM)
TO_MEMORY, TO_ZARR, WAITED = "to memory", "to zarr-python", "waits, ms a step"
BAR = 0.97

FOREVER = range(1 << 30)


def zarr_name(workers: int) -> str:
    """The contender that reads through zarr-python."""
    return f"zarr-python DataLoader, {workers} workers"


@dataclass(frozen=True)
class Pace:
    """How steps are measured.

    Args:
        steps: timed steps a slice.
        zarr_steps: steps a slice of the zarr-python DataLoaders, whose pipelines start anew in each.
        slices: slices a round.
        rounds: interleaved rounds.
        workers: processes of each zarr-python DataLoader.
        bar: least share of the steps in memory that those from the store must reach; None asks for nothing.
        quiet: no progress on stderr.
    """

    steps: int
    zarr_steps: int
    slices: int
    rounds: int
    workers: tuple[int, ...] = (0, 2)
    bar: float | None = BAR
    quiet: bool = False


@dataclass
class Steps:
    """Steps on batches that come from somewhere, a slice at a time.

    In every slice as many buffers are handed back for refilling as batches are taken: whatever a loader read ahead
    before the clock started, it owes again before it stops, as long as a read takes less than a step.

    Args:
        run: model, optimiser and task.
        batches: endless.
        count: steps a slice.
        loader: where they come from, to ask it for how long it let us wait.
    """

    run: Run
    batches: Iterator[Loaded]
    count: int
    loader: Loader | None = None
    waits_ms: list[float] = field(default_factory=list)

    def __call__(self) -> list[float]:
        """Seconds a step, the mean over a slice."""
        before = self._waited()
        start = time.perf_counter()
        for loaded in itertools.islice(self.batches, self.count):
            take_step(self.run, loaded)
        took = time.perf_counter() - start
        self.waits_ms.append(1000 * (self._waited() - before) / self.count)
        self.run.recent.clear()
        return [took / self.count]

    def _waited(self) -> float:
        return self.loader.waited_s if self.loader is not None else 0.0


def bench_steps(run: Run, paths: Mapping[str, Path], pace: Pace) -> Case:
    """Steps a second by where batches come from; the same model and optimiser learn from all of them.

    Args:
        run: with its features on disk.
        paths: of the features' Zarr arrays, by the task's names.
        pace: how.
    """
    with ExitStack() as stack:
        runs: dict[str, Callable[[], list[float]]] = {
            MEMORY: from_memory(run, pace.steps),
            MEMORY + AGAIN: from_memory(run, pace.steps),
            FULL: from_store(run, pace.steps, stack),
            WINDOW: from_store(with_loader(run, shuffle="window"), pace.steps, stack),
            RAM: from_store(in_memory(run), pace.steps, stack),
        }
        for workers in pace.workers:
            epochs = ZarrEpochs(run, paths, pace.zarr_steps, workers, stack)
            runs[zarr_name(workers)] = _from_epochs(run, epochs, pace.zarr_steps)
        for each in runs.values():
            each()  # warm: buffers, processes, moments of the optimiser
        label = f"steps of {run.config.batch_size}"
        seconds = interleave(runs, rounds=pace.rounds, slices=pace.slices, label=label, quiet=pace.quiet)
    waits = {name: Spread.of(each.waits_ms[1:]) for name, each in runs.items() if isinstance(each, Steps)}
    lines = tuple(_line(seconds, waits, name, pace) for name in runs if not name.endswith(AGAIN))
    size = sum(source.spec.row_bytes for source in run.data.sources.values())
    title = (
        f"training steps of the head, batches of {run.config.batch_size} rows of {' + '.join(run.data.sources)} "
        f"({size / 1000:.0f} kB a row)"
    )
    about_zarr = "zarr-python: a short epoch a slice, from its first request to its last step"
    return Case(title, lines, (*([about_zarr] if pace.workers else []), *_undecided(seconds, pace.bar)))


def _undecided(seconds: Seconds, bar: float | None) -> tuple[str, ...]:
    """A sentence where equal things came out further apart than the bar lies from 1."""
    again = control(seconds, MEMORY)
    if bar is None or (again.low >= bar and again.high <= 1 / bar):
        return ()
    return (
        f"this machine was too busy to decide a bar of {bar:.2f}: steps in memory came out at {again.render()} of "
        "themselves",
    )


def from_memory(run: Run, steps: int) -> Steps:
    """Steps on the first batch, over and over, with the number (and so the dropout) of a new step each."""
    with open_loader(run, run.data.train_fields, train_order(run), range(1), run.config.batch_size) as loader:
        (loaded,) = loader
        kept = {name: values.clone() for name, values in loaded.batch.items()}
    draws = (replace(loaded.draw, step=step) for step in itertools.count())
    return Steps(run, (Loaded(draw, kept) for draw in draws), steps)


def from_store(run: Run, steps: int, stack: ExitStack) -> Steps:
    """Steps as :func:`~visual_thought.train.loop.run_steps` takes them."""
    order, size = train_order(run), run.config.batch_size
    loader = stack.enter_context(open_loader(run, run.data.train_fields, order, FOREVER, size))
    found = Steps(run, iter(loader), steps, loader)
    _touch_every_row(run)
    return found


def _touch_every_row(run: Run) -> None:
    """Read every training row once: checksums are known and pages warm, as after the first epoch."""
    order, size = train_order(run), run.config.batch_size
    epoch = range(-(-len(run.data.splits["train"]) // size))
    with open_loader(run, run.data.train_fields, order, epoch, size) as loader:
        for _ in loader:
            pass


def _from_epochs(run: Run, epochs: Iterable[Mapping[str, object]], steps: int) -> Callable[[], list[float]]:
    number = itertools.count()

    def measured() -> list[float]:
        start = time.perf_counter()
        for batch in epochs:
            draw = Draw(next(number), run.data.splits["train"][:0], run.data.splits["train"][:0])
            take_step(run, Loaded(draw, dict(batch)))  # type: ignore[arg-type]
        took = time.perf_counter() - start
        run.recent.clear()
        return [took / steps]

    return measured


def _line(seconds: Seconds, waits: Mapping[str, Spread], name: str, pace: Pace) -> Line:
    ratios, bars = {TO_MEMORY: speed(seconds, name, MEMORY)}, tuple[Bar, ...]()
    if pace.workers:
        best = min((zarr_name(workers) for workers in pace.workers), key=lambda each: Spread.of(seconds[each]).median)
        ratios[TO_ZARR] = speed(seconds, name, best)
    if name in OURS:
        ratios[WAITED] = waits[name]
        if pace.bar is not None:
            bars = (Bar(f">= {pace.bar:.2f} of memory", ratios[TO_MEMORY].median >= pace.bar),)
    rate = f"{1 / Spread.of(seconds[name]).median:7.2f} steps/s"
    return Line(name, rate, ratios, control(seconds, MEMORY), bars)
