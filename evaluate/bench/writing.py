"""Committing parts, hash and receipt and all, beside a plain write and fsync of the same bytes."""

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from ...pipeline.machine import file_system
from ...pipeline.store import ArrayPlan, FeatureStore, commit_part
from ...pipeline.store.commit import own_errors
from .features import Features, plan
from .rounds import AGAIN, Seconds, Spread, control, interleave, speed
from .table import Bar, Case, Line

PLAIN, COLUMN = "write + fsync", "to write + fsync"
OURS = ("our Zarr", "our HDF5")
BAR = 0.9
NOT_DISKS = ("tmpfs", "ramfs", "overlay")


def bench_writing(features: Features, *, rounds: int, quiet: bool = False) -> Case:
    """All rows into new files, part by part, in a folder that is new in each round; only the commits are timed."""
    kind = file_system(os.stat(features.folder).st_dev)
    runs: dict[str, Callable[[], list[float]]] = {
        PLAIN: _plain(features),
        PLAIN + AGAIN: _plain(features),
        OURS[0]: _commits(features, "zarr", 1),
        OURS[1]: _commits(features, "hdf5", 1),
        "our Zarr, two parts at once": _commits(features, "zarr", 2),
    }
    for run in runs.values():
        run()  # warm: buffers, journals, imports
    seconds = interleave(runs, rounds=rounds, label="writing", quiet=quiet)
    lines = tuple(_line(features, seconds, name, kind) for name in runs if not name.endswith(AGAIN))
    said = f"on {kind or 'an unknown file system'}" + ("" if _is_disk(kind) else ", which is no disk: no bar applies")
    return Case(f"writing {features.rows} rows of {' + '.join(features.values)} {said}", lines)


def _is_disk(kind: str | None) -> bool:
    return kind is not None and kind not in NOT_DISKS


def _line(features: Features, seconds: Seconds, name: str, kind: str | None) -> Line:
    took, ratio = Spread.of(seconds[name]).median, speed(seconds, name, PLAIN)
    bars = (Bar(f">= {BAR:.2f} of write + fsync", ratio.median >= BAR),) if name in OURS and _is_disk(kind) else ()
    return Line(name, f"{features.row_bytes / took / 1e9:5.2f} GB/s", {COLUMN: ratio}, control(seconds, PLAIN), bars)


def _plain(features: Features) -> Callable[[], list[float]]:
    """Files of the size of a part, each written, synced and closed."""

    def run() -> list[float]:
        with _Folder(features.folder / "plain") as folder:
            start, number = time.perf_counter(), count()
            for values in features.values.values():
                for first in range(0, len(values), 128):
                    _write(folder / str(next(number)), values[first : first + 128])
            return [(time.perf_counter() - start) / features.rows]

    return run


def _write(path: Path, values: Shaped[np.ndarray, " rows *shape"]) -> None:
    with own_errors(path), path.open("xb", buffering=0) as file:
        view = memoryview(values).cast("B")
        while view:
            view = view[file.write(view) :]
        os.fsync(file.fileno())


def _commits(features: Features, store_format: str, at_once: int) -> Callable[[], list[float]]:
    def run() -> list[float]:
        with _Folder(features.folder / "written") as folder, ThreadPoolExecutor(at_once) as pool:
            store = FeatureStore.create(folder)
            plans = [
                plan(store, name, values.shape[1:], len(values), store_format)
                for name, values in features.values.items()
            ]
            work = [(array, part) for array in plans for part in array.missing]
            start = time.perf_counter()
            list(pool.map(lambda each: _commit(features, store, *each), work))
            return [(time.perf_counter() - start) / features.rows]

    return run


def _commit(features: Features, store: FeatureStore, array: ArrayPlan, part: int) -> None:
    rows = array.part_range(part)
    commit_part(store, array, part, features.values[array.spec.name][rows.start : rows.stop])


class _Folder:
    """A folder that is gone afterwards."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Path:
        self.path.mkdir()
        return self.path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path)
