"""How long a step waits for its batch when it takes 10 ms itself."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np

from ...pipeline.store import FeatureStore
from ...train.loader import Field, Loaded, Loader
from ...train.sampling import EpochOrder
from ...train.sources import DiskSource
from .features import Features
from .readers import npy_take
from .rounds import AGAIN, Spread, interleave
from .table import Bar, Case, Line

STEP_S = 0.010
STEPS = 40
BAR_MS = 0.5
RING, SYNC = "our Zarr, ring of 2 threads", "npy np.take(memmap), no ring"


def bench_stalling(features: Features, batch: int, *, rounds: int, quiet: bool = False) -> Case:
    """Mean milliseconds a step waits; the ring's batches are float32, ready for a CPU, the yardstick's are not."""
    with ExitStack() as stack:
        runs = {RING: _ring(features, batch, stack), RING + AGAIN: _ring(features, batch, stack)}
        runs[SYNC] = _sync(features, batch, stack)
        waits = interleave(runs, rounds=rounds, label="steps of 10 ms", quiet=quiet)
    found = {name: Spread.of(1000 * wait for wait in each) for name, each in waits.items()}
    bar = Bar(f"waits < {BAR_MS} ms", found[RING].median < BAR_MS)
    lines = (
        Line(RING, "", {"ms a step": found[RING]}, found[RING + AGAIN], (bar,)),
        Line(SYNC, "", {"ms a step": found[SYNC]}),
    )
    return Case(f"waiting for batches of {batch} in steps that sleep 10 ms (A/A: the same ring again)", lines)


def _ring(features: Features, batch: int, stack: ExitStack) -> Callable[[], list[float]]:
    store, rows = FeatureStore.open(features.store("zarr")), np.arange(features.rows)
    readers = {name: stack.enter_context(store.reader(name)) for name in features.values}
    sources = {name: DiskSource(reader) for name, reader in readers.items()}
    fields, order = {name: Field(name, rows) for name in features.values}, EpochOrder(rows, batch, seed=0)
    epoch = -(-features.rows // batch)

    def batches(count: int) -> float:
        with Loader(sources, fields, {}, order, range(count), batch_size=batch) as loader:
            return _waited(iter(loader), count)

    batches(epoch)  # every row is known now

    return lambda: [batches(STEPS)]


def _waited(loaded: Iterator[Loaded], count: int) -> float:
    """Mean seconds a step waits, the first ones, which fill the ring, not counted."""
    waits = []
    for _ in range(count):
        start = time.perf_counter()
        next(loaded)
        waits.append(time.perf_counter() - start)
        time.sleep(STEP_S)
    return sum(waits[5:]) / max(1, len(waits[5:]))


def _sync(features: Features, batch: int, stack: ExitStack) -> Callable[[], list[float]]:
    read, rng = npy_take(features, batch, stack), np.random.default_rng(0)

    def run() -> list[float]:
        waits = []
        for _ in range(STEPS):
            rows = rng.permutation(features.rows)[:batch]
            start = time.perf_counter()
            read(rows)
            waits.append(time.perf_counter() - start)
            time.sleep(STEP_S)
        return [sum(waits) / len(waits)]

    run()
    return run
