"""What an open reader keeps in memory, for a small and a ten times larger store."""

import tracemalloc
from pathlib import Path

import numpy as np

from ...pipeline.store import FeatureStore, commit_part
from .features import plan
from .rounds import Spread
from .table import Bar, Case, Line

ROWS = (1280, 12800)
SHAPE = (8,)
BAR_BYTES = 100.0


def bench_footprint(folder: Path) -> Case:
    """Bytes that Python and NumPy hold for a reader that has read every row once, and what each further row adds."""
    held = {rows: _held(folder / f"rows-{rows}", rows) for rows in ROWS}
    small, large = ROWS
    each = (held[large] - held[small]) / (large - small)
    lines = (
        Line(f"reader of {small} rows", f"{held[small] / 1000:.0f} kB", {}),
        Line(f"reader of {large} rows", f"{held[large] / 1000:.0f} kB", {}),
        Line(
            "each further row",
            "",
            {"bytes": Spread(each, each, each)},
            bars=(Bar(f"< {BAR_BYTES:.0f} bytes a row", each < BAR_BYTES),),
        ),
    )
    return Case("memory of a reader: tables of places and checksums, nothing else grows", lines)


def _held(path: Path, rows: int) -> int:
    store, values = FeatureStore.create(path), np.zeros((rows, *SHAPE), np.uint16)
    array = plan(store, "z", SHAPE, rows, "zarr")
    for part in array.missing:
        span = array.part_range(part)
        commit_part(store, array, part, values[span.start : span.stop])
    buffer, number = np.empty((128, *SHAPE), np.uint16), np.arange(rows)
    store.index("z")  # the index is the store's, not the reader's
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        with store.reader("z") as reader:
            for _ in range(2):
                for start in range(0, rows, 128):
                    reader.read_into(number[start : start + 128], buffer)
            return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
