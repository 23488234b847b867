"""The point of a feature store: an epoch of a head from it, beside the same head with the backbone in its loop."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ...extract.backbones.base import Backbone
from ...train.state import Run
from .arithmetic import count_flops
from .rounds import AGAIN, Seconds, Spread, control, interleave, speed
from .table import Bar, Case, Line
from .training import from_memory, from_store
from .training_backbone import InLoop, extraction

CACHED, LOOP, EXTRACTION = "head from the store", "backbone in the loop", "extraction, once"
FLOPS, REACHED = "by arithmetic alone", "of that reached"
TO_LOOP, PAID, SHARE = "to the backbone in the loop", "epochs to pay", "share"
ROWS = 4069
"""Rows of an epoch: the paper's grounding data."""


@dataclass(frozen=True)
class EpochPace:
    """How an epoch is measured.

    Args:
        steps: timed steps a slice of the head from the store.
        frames: frames an extraction.
        batch_size: frames a batch of the extraction.
        rounds: interleaved rounds.
        bar: how many times as fast the head from the store must be; None asks for nothing.
        quiet: no progress on stderr.
    """

    steps: int
    frames: int
    batch_size: int
    rounds: int
    bar: float | None = 20.0
    quiet: bool = False


def bench_epoch(run: Run, backbone: Backbone, folder: Path, pace: EpochPace) -> Case:
    """Seconds a row of both, in the same rounds, times the rows of an epoch; and of the extraction that one needs.

    The loop's frames are decoded and preprocessed before the clock starts, and each row is one frame and one
    instruction; the extraction preprocesses, runs, checks and commits, but decodes no video.

    Args:
        run: its features are ``backbone``'s and lie on disk.
        backbone: loaded.
        folder: for stores that are removed again.
        pace: how.
    """
    size = run.config.batch_size
    loop = InLoop(run, backbone)
    with ExitStack() as stack:
        cached = {name: from_store(run, pace.steps, stack) for name in (CACHED, CACHED + AGAIN)}
        runs: dict[str, Callable[[], list[float]]] = {
            **{name: _a_row(steps, size) for name, steps in cached.items()},
            LOOP: _a_row(loop, size),
            EXTRACTION: extraction(backbone, folder, pace.frames, pace.batch_size),
        }
        for each in runs.values():
            each()
        seconds = interleave(runs, rounds=pace.rounds, label="epochs", quiet=pace.quiet)
    return Case(
        f"an epoch of {ROWS} rows, from the seconds a row of batches of {size}",
        _lines(seconds, _flops(run, backbone), pace),
        (
            "in the loop: frames decoded and preprocessed before, one instruction a frame",
            f"extraction: {pace.frames} frames in batches of {pace.batch_size}, one instruction each, into a new store;"
            " no video is decoded",
        ),
    )


@dataclass(frozen=True)
class Flops:
    """Floating-point operations a row of each half of a step with the backbone in the loop."""

    backbone: float
    head: float

    @property
    def allows(self) -> float:
        """How many times as fast a step without the backbone is where all operations take the same time."""
        return (self.backbone + self.head) / self.head


def _lines(seconds: Seconds, flops: Flops, pace: EpochPace) -> tuple[Line, ...]:
    ratio = speed(seconds, CACHED, LOOP)
    bars = () if pace.bar is None else (Bar(f">= {pace.bar:.0f} times the loop", ratio.median >= pace.bar),)
    reached = Spread(*(value / flops.allows for value in (ratio.median, ratio.low, ratio.high)))
    return (
        Line(CACHED, _pace(seconds, CACHED), {TO_LOOP: ratio}, control(seconds, CACHED), bars),
        Line(LOOP, _pace(seconds, LOOP), {TO_LOOP: speed(seconds, LOOP, LOOP)}),
        Line(EXTRACTION, _pace(seconds, EXTRACTION), {PAID: epochs_to_pay(seconds)}),
        Line(
            FLOPS,
            f"{flops.head / 1e9:.2f} GFLOP a row of the head, {flops.backbone / 1e9:.1f} of the backbone",
            {TO_LOOP: Spread(*[flops.allows] * 3)},
        ),
        Line(REACHED, "", {SHARE: reached}),
    )


def _pace(seconds: Seconds, name: str) -> str:
    row = Spread.of(seconds[name]).median
    return f"{1000 * row:8.2f} ms a row, {row * ROWS:7.1f} s an epoch"


def epochs_to_pay(seconds: Seconds) -> Spread:
    """Epochs after which extraction and training together took less than training with the backbone in the loop.

    n with extraction + n · cached = n · loop, by round; one row needs one extracted frame.
    """
    each = zip(seconds[EXTRACTION], seconds[LOOP], seconds[CACHED], strict=True)
    return Spread.of(once / max(loop - cached, 1e-9) for once, loop, cached in each)


def _a_row(step: Callable[[], list[float]], size: int) -> Callable[[], list[float]]:
    return lambda: [took / size for took in step()]


def _flops(run: Run, backbone: Backbone) -> Flops:
    loop, step = InLoop(run, backbone), from_memory(run, 1)
    one = count_flops(lambda: loop.features(loop.pixels[:1], loop.instructions[:1]))
    return Flops(one, count_flops(step) / run.config.batch_size)
