"""Random batches from a warm page cache: how our readers and other libraries stand to a plain .npy file."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Int

from ...pipeline.errors import VisualThoughtError
from .features import NEVER_WRITTEN, Features
from .libraries import LIBRARIES, installed, quietly
from .readers import PREADV, TAKE, Read, h5py_rows, npy_preadv, npy_take, ours, zarr_python
from .rounds import AGAIN, Seconds, Spread, control, interleave, speed
from .table import Bar, Case, Line

OURS = "our Zarr, verified"
VERIFIED = (OURS, "our HDF5, verified")
ALWAYS = ("our Zarr, crc32c every read", "our HDF5, crc32c every read")
MUST_BEAT = 10.0
BEATEN = {"zarr-python": (32, 256), "WebDataset": (32, 256), "LitData": (32, 256), "HF datasets": (256,)}
"""What we must be ten times as fast as, and in batches of which size."""

SLICES = 4  # runs a round
SHARE = 0.06  # seconds a contender may take in each


@dataclass(frozen=True)
class Contender:
    """One that reads batches.

    Args:
        read: reads one.
        given: the rows it gave last, if it has an order of its own, whatever is asked for.
    """

    read: Read
    given: Callable[[], Int[np.ndarray, " b"]] | None = None


def bench_reading(features: Features, batch: int, *, rounds: int, libraries: bool = True, quiet: bool = False) -> Case:
    """Batches of that many rows of all features, in random order.

    Raises:
        VisualThoughtError: a contender's first batch is not bit for bit what was written.
    """
    with ExitStack() as stack:
        contenders, missing = _contenders(features, batch, stack, libraries)
        _prove(features, contenders, batch)
        runs = {name: _runner(features, contender, batch) for name, contender in contenders.items()}
        seconds = interleave(runs, rounds=rounds, label=f"batches of {batch}", slices=SLICES, quiet=quiet)
    notes = (f"not installed: {', '.join(missing)}",) if missing else ()
    lines = tuple(_line(features, seconds, name, batch) for name in contenders if not name.endswith(AGAIN))
    return Case(f"reading random batches of {batch} rows of {' + '.join(features.values)}, warm", lines, notes)


def _contenders(
    features: Features, batch: int, stack: ExitStack, libraries: bool
) -> tuple[dict[str, Contender], list[str]]:
    """Everybody by name, the yardsticks and one of ours twice; and who is not installed."""
    own: dict[str, Callable[[Features, int, ExitStack], Read]] = {
        TAKE: npy_take,
        TAKE + AGAIN: npy_take,
        PREADV: npy_preadv,
        PREADV + AGAIN: npy_preadv,
        VERIFIED[0]: ours("zarr", "first"),
        VERIFIED[0] + AGAIN: ours("zarr", "first"),
        VERIFIED[1]: ours("hdf5", "first"),
        ALWAYS[0]: ours("zarr", "always"),
        ALWAYS[1]: ours("hdf5", "always"),
        "zarr-python": zarr_python,
        "h5py": h5py_rows,
    }
    found = {name: Contender(prepare(features, batch, stack)) for name, prepare in own.items()}
    wanted = [library for library in LIBRARIES if libraries]
    for library in wanted:
        if installed(library.module):
            found[library.name] = Contender(*quietly(partial(library.prepare, features, batch, stack)))
    return found, [library.name for library in wanted if not installed(library.module)]


def _prove(features: Features, contenders: dict[str, Contender], batch: int) -> None:
    """Compare everybody's first batch with what was written, bit for bit."""
    for name, contender in contenders.items():
        for buffer in features.buffers(batch).values():
            buffer[:] = NEVER_WRITTEN  # or whoever leaves them alone would pass with what the one before read
        rows = np.random.default_rng(1).permutation(features.rows)[:batch]
        found = contender.read(rows)
        if not features.holds(found, contender.given() if contender.given else rows):
            raise VisualThoughtError(f"{name} gave other numbers than were written", remedy="this is a bug: report it")


def _runner(features: Features, contender: Contender, batch: int) -> Callable[[], list[float]]:
    """A run of a contender that is warm: seconds a row of every batch. The slow ones read fewer batches."""
    rng = np.random.default_rng(2)
    for rows in _batches(np.arange(features.rows), batch):  # every row once, in order: nothing is new afterwards
        contender.read(rows)
    for rows in _batches(rng.permutation(features.rows), batch)[:4]:
        contender.read(rows)
    start = time.perf_counter()
    contender.read(rng.permutation(features.rows)[:batch])
    most = max(1, int(SHARE / (time.perf_counter() - start)))

    def run() -> list[float]:
        batches, found = _batches(rng.permutation(features.rows), batch), []
        contender.read(batches[-1])  # not timed: the caches belong to whoever ran before
        for rows in batches[:most]:
            start = time.perf_counter()
            contender.read(rows)
            found.append((time.perf_counter() - start) / batch)
        return found

    return run


def _batches(order: Int[np.ndarray, " n"], batch: int) -> list[Int[np.ndarray, " b"]]:
    """Whole batches only: a buffer has one size."""
    return [order[start : start + batch] for start in range(0, len(order) - batch + 1, batch)]


def _line(features: Features, seconds: Seconds, name: str, batch: int) -> Line:
    row = Spread.of(seconds[name]).median
    pace = f"{1 / row:8.0f} rows/s {features.row_bytes / row / 1e9:6.2f} GB/s"
    take, preadv = speed(seconds, name, TAKE), speed(seconds, name, PREADV)
    ratios = {"to np.take": take, "to preadv": preadv}
    bars: list[Bar] = []
    if name in VERIFIED:
        least = min(1.0, control(seconds, PREADV).low)
        bars.append(Bar(f">= {least:.2f} of preadv (A/A)", preadv.median >= least))
        bars.append(Bar(">= 0.80 of np.take", take.median >= 0.8))
    if name in ALWAYS:
        bars.append(Bar(">= 0.55 of np.take", take.median >= 0.55))
    if name not in (*VERIFIED, *ALWAYS, TAKE, PREADV):
        ratios["ours to it"] = speed(seconds, OURS, name)
        if batch in BEATEN.get(name, ()):
            bars.append(Bar("ours >= 10", ratios["ours to it"].median >= MUST_BEAT))
    twice = name if name + AGAIN in seconds else TAKE
    return Line(name, pace, ratios, control(seconds, twice), tuple(bars))
