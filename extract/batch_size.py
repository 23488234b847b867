"""Frames a batch: as given, as unfinished arrays were begun, or the fastest on the first frames.

Features may differ in the last bits between batch sizes, as between machines, so one array is made with one size:
``auto`` measures only for arrays without a part, and every receipt names the size.
"""

import time
from collections.abc import Sequence

from ..pipeline.store.receipt import read_receipt
from .backbones.base import Backbone
from .decode import DecodedBatch, Frame
from .forward import Forward
from .plan import ExtractionPlan, open_if_there
from .work import Batch, schedule

SIZES = (4, 8, 16, 32, 64, 128, 256)
LONGEST_S = 5.0
"""A signal is answered between two batches, so a batch may not take longer."""

BETTER = 1.03
"""How much faster a larger size must be to be worth its memory."""


def find_batch_size(planned: ExtractionPlan, backbones: Sequence[Backbone]) -> int:
    """The batch size of an extraction that is not complete.

    Raises:
        MachineError: not even one frame fits the device's memory.
        DatasetError: the first frames cannot be decoded.
    """
    size = planned.config.batch_size
    if size != "auto":
        return size
    return begun_with(planned) or fastest_size(planned, backbones)


def begun_with(planned: ExtractionPlan) -> int | None:
    """The batch size of parts that the unfinished arrays have already; None if they have none."""
    config = planned.config
    store = open_if_there(config.store)
    unfinished = {(array.index_id, array.spec.key) for feature in planned.features for array in feature.arrays}
    for array in store.arrays():
        if (array.index_id, array.key) in unfinished:
            for part in array.finished_parts()[:1]:
                size = read_receipt(array.layout.root, array.receipt_path(part)).info.get("batch_size")
                if isinstance(size, int) and size > 0:
                    return size
    return None


def fastest_size(planned: ExtractionPlan, backbones: Sequence[Backbone]) -> int:
    """Try sizes on the first frames, from small to large, until memory, patience or the gain runs out."""
    arrays = [array for feature in planned.features for array in feature.arrays]
    work = schedule(arrays, planned.frames, planned.queries, SIZES[-1])
    batch = work.batches[0]
    frames = list(planned.dataset.decode(batch.frames[:64]))
    best, best_rate = 1, 0.0
    for size in SIZES:
        rate = _rate(backbones, batch, frames, size)
        if rate is None:  # memory ran out
            break
        if rate > best_rate * BETTER:
            best, best_rate = size, rate
        if size >= len(batch.frames) or 2 * size / rate > LONGEST_S:
            break
    return best


def _rate(backbones: Sequence[Backbone], batch: Batch, frames: Sequence[Frame], size: int) -> float | None:
    """Frames a second of one batch of a size, the better of two after one to warm up; None if memory runs out."""
    forward, took = Forward(backbones, size), []
    one = _first(batch, frames, size)
    for _ in range(3):
        start = time.perf_counter()
        forward.wait(forward.launch(one))
        took.append(time.perf_counter() - start)
        if forward.limit < size:
            return None
    return len(one.frames) / min(took[1:])


def _first(batch: Batch, frames: Sequence[Frame], size: int) -> DecodedBatch:
    """A batch of the first ``size`` frames (repeated if fewer were decoded) with their queries and places."""
    size = min(size, len(batch.frames))
    queries = tuple(query for query in batch.queries if query.position < size)
    return DecodedBatch(
        Batch(batch.frames[:size], queries, batch.places), [frames[at % len(frames)] for at in range(size)], 0.0
    )
