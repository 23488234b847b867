"""``vtt bench sweep``: many heads trained as one beside one head, and what sharing the reading saves."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from ...pipeline.config import to_plain
from ...pipeline.errors import ConfigError
from ...pipeline.store import FeatureStore
from ...train.loader import Loader
from ...train.loop import train_order
from ...train.seeds import own_randomness
from ...train.state import Data, Run, open_loader
from ...train.step import backward, update
from ...train.sweep.memory import keep_freed_memory
from ...train.sweep.stack import Stack
from ...train.tasks.ground import GroundTask
from .rounds import AGAIN, Seconds, Spread, control, interleave
from .run import own_folder
from .sweep_data import FULL, WORLD, Simulated, Size, same_shaped, simulate_grounding
from .table import Bar, Case, Line, StoreBench

HEADS = 8
BAR = 4.0
SMALL_HEAD = {
    "decoder.dim": 32,
    "decoder.num_heads": 4,
    "decoder.num_layers": 1,
    "head.dim": 32,
    "head.num_heads": 4,
}
"""What the bar is about: about a ninth of the parameters of the recipe's head, everything else as in the recipe."""
SMALL = {"decoder.dim": 16, "decoder.num_heads": 2, "head.refine": "false"}
FULL_SHAPES = (SMALL, SMALL | {"head.dim": 64})
SHAPES = ({"decoder.dim": 32}, {"decoder.dim": 64}, {"decoder.dim": 128}, {"decoder.dim": 128, "decoder.num_layers": 1})
"""Heads of different shape, for small and for full-size features."""


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Args:
        rounds: interleaved rounds of each case.
        steps: training steps a contender takes in a round.
        batches: batch sizes of heads as in the recipe.
        small_batches: batch sizes of small heads; the bar is held against the first.
        threads: numbers of compute threads.
        rows: rows of the simulated features.
    """

    rounds: int = 5
    steps: int = 4
    batches: tuple[int, ...] = (16, 64)
    small_batches: tuple[int, ...] = (8, 16, 32)
    threads: tuple[int, ...] = (1, 2)
    rows: int = 512


def bench_sweep(
    folder: Path, effort: Effort | None = None, *, full_size: bool = True, quiet: bool = False
) -> StoreBench:
    """Measure below a folder, with simulated features; what is made there is removed again.

    Args:
        folder: where.
        effort: how much.
        full_size: also share the reading of full-size features.
        quiet: no progress on stderr.

    Raises:
        ConfigError: nothing to measure.
        MachineError: the folder cannot be written.
    """
    effort = effort or Effort()
    if effort.rounds < 1 or effort.steps < 1 or effort.rows < max(*effort.batches, *effort.small_batches):
        raise ConfigError("nothing to measure", found=effort, expected="rounds, steps, and rows for one batch")
    cases: list[Case] = []
    keep_freed_memory()
    with own_folder(folder) as own, _threads_kept(), own_randomness():
        with _opened(own / "world", WORLD, effort, quiet=quiet) as stage:
            for threads in effort.threads:
                torch.set_num_threads(threads)
                cases += [_as_one(stage, SMALL_HEAD, batch, threads) for batch in effort.small_batches]
                cases += [_as_one(stage, {}, batch, threads) for batch in effort.batches]
            cases.append(_sharing(stage, max(effort.batches), SHAPES))
        if full_size:
            with _opened(own / "full", FULL, effort, quiet=quiet) as stage:
                cases.append(_sharing(stage, min(effort.small_batches), FULL_SHAPES))
    place = (
        f"{folder}, {os.cpu_count()} cores; recipe ground-world without controls, simulated features read from the "
        f"store's files.\nSeconds a step in one process, median of {effort.rounds} rounds [least-most]."
    )
    return StoreBench(place, tuple(cases))


@dataclass(frozen=True)
class Stage:
    """What is read, and how much is measured."""

    size: Size
    simulated: Simulated
    data: Data
    effort: Effort
    quiet: bool

    def heads(self, count: int, batch: int, shape: Mapping[str, object]) -> list[Run]:
        """Heads of one shape that differ in seed, learning rate and margin."""
        return same_shaped(self.simulated, self.data, count, batch_size=batch, **shape)


@contextmanager
def _opened(folder: Path, size: Size, effort: Effort, *, quiet: bool) -> Iterator[Stage]:
    simulated = simulate_grounding(folder, size, effort.rows)
    store = FeatureStore.open(folder)
    with ExitStack() as stack:
        readers = {name: stack.enter_context(store.reader(store.resolve(name))) for name in simulated.specs}
        data = simulated.data(readers, GroundTask(simulated.config(), simulated.specs))
        yield Stage(size, simulated, data, effort, quiet)


@contextmanager
def _threads_kept() -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _as_one(stage: Stage, shape: Mapping[str, object], batch: int, threads: int) -> Case:
    """Eight heads of one shape: one of them, all in turn, all as one; every contender reads its own batches."""
    stacked, steps = stage.heads(HEADS, batch, shape), stage.effort.steps
    stack = Stack([(run, run.racers[0]) for run in stacked])
    contenders = {
        "one head": _stepping(stage.heads(1, batch, shape), _in_turn, steps),
        "one head" + AGAIN: _stepping(stage.heads(1, batch, shape), _in_turn, steps),
        f"{HEADS} heads in turn": _stepping(stage.heads(HEADS, batch, shape), _in_turn, steps),
        f"{HEADS} heads as one": _stepping(stacked, lambda _, loaded, step: _step_stack(stack, loaded, step), steps),
    }
    title = f"{HEADS} grounding heads of {_described(stacked[0])}; batch {batch}, threads: {threads}"
    seconds = _measure(contenders, stage, title)
    lines = [_line(seconds, name, "one head") for name in contenders if AGAIN not in name]
    if shape and batch == stage.effort.small_batches[0]:
        last = lines[-1]
        bar = Bar(f"less than {BAR:g} x the time of one", last.ratios["times one head"].median < BAR)
        lines[-1] = Line(last.name, last.pace, last.ratios, bars=(bar,))
    return Case(title, tuple(lines), (f"one head against itself: {control(seconds, 'one head').render()}",))


def _described(run: Run) -> str:
    """The size of a head in words."""
    plain = to_plain(run.config)
    decoder, head = plain["decoder"], plain["head"]
    count = sum(parameter.numel() for parameter in run.racers[0].contender.model.parameters())
    return f"{count:,} parameters (decoder {decoder['num_layers']} x {decoder['dim']}, head {head['dim']})"


def _sharing(stage: Stage, batch: int, shapes: Sequence[Mapping[str, object]]) -> Case:
    """Heads of different shape: each with a loader of its own, and all on the batches of one."""

    def runs() -> list[Run]:
        return [stage.simulated.run(stage.data, batch_size=batch, **shape) for shape in shapes]

    apart = [_stepping([run], _in_turn, stage.effort.steps) for run in runs()]
    contenders = {
        "a pass each": lambda: [sum(parts) for parts in zip(*(step() for step in apart), strict=True)],
        "one pass": _stepping(runs(), _in_turn, stage.effort.steps),
        "one pass" + AGAIN: _stepping(runs(), _in_turn, stage.effort.steps),
        "reading alone": _stepping(runs()[:1], lambda *_: None, stage.effort.steps),
    }
    title = f"{len(shapes)} heads of different shape, {stage.size.name}, batch {batch}"
    seconds = _measure(contenders, stage, title)
    saved = Spread.of(1 - own / base for own, base in zip(seconds["one pass"], seconds["a pass each"], strict=True))
    lines = [_line(seconds, name, "a pass each") for name in contenders if AGAIN not in name]
    notes = (
        f"sharing saves {saved.median:.0%} [{saved.low:.0%} to {saved.high:.0%}] of the time",
        f"one pass against itself: {control(seconds, 'one pass').render()}",
    )
    return Case(title, tuple(lines), notes)


def _measure(contenders: Mapping[str, Callable[[], list[float]]], stage: Stage, title: str) -> Seconds:
    for contender in contenders.values():
        contender()  # warm
    return interleave(contenders, rounds=stage.effort.rounds, label=title, quiet=stage.quiet)


def _stepping(runs: Sequence[Run], step: Callable[..., None], steps: int) -> Callable[[], list[float]]:
    """Seconds of each of the next steps, reading included; the loader is opened and closed around them."""
    done = 0

    def go() -> list[float]:
        nonlocal done
        lead, took = runs[0], list[float]()
        order = train_order(lead)
        next_steps, batch = range(done, done + steps), lead.config.batch_size
        with open_loader(lead, lead.data.train_fields, order, next_steps, batch) as loader:
            took += _timed(loader, runs, step)
        done += steps
        return took

    return go


def _timed(loader: Loader, runs: Sequence[Run], step: Callable[..., None]) -> Iterator[float]:
    start = time.perf_counter()
    for loaded in loader:
        step(runs, loaded.batch, loaded.draw.step)
        now = time.perf_counter()
        yield now - start
        start = now


def _in_turn(runs: Sequence[Run], batch: dict[str, torch.Tensor], step: int) -> None:
    for run in runs:
        for racer in run.racers:
            backward(run, racer, batch, step).item()
            update(run, racer, step)


def _step_stack(stack: Stack, batch: dict[str, torch.Tensor], step: int) -> None:
    stack.backward(batch, step).tolist()
    stack.update(step, range(len(stack.entries)))


def _times(seconds: Seconds, name: str, baseline: str) -> Spread:
    """How many times the baseline's time of the same round."""
    return Spread.of(own / base for own, base in zip(seconds[name], seconds[baseline], strict=True))


def _line(seconds: Seconds, name: str, baseline: str) -> Line:
    pace = f"{1000 * Spread.of(seconds[name]).median:.1f} ms a step"
    return Line(name, pace, {f"times {baseline}": _times(seconds, name, baseline)})
