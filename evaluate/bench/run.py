"""The whole bench of the store: make the files, measure, leave nothing behind."""

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ...pipeline.errors import ConfigError, MachineError
from ...pipeline.machine import file_system
from .features import FORMATS, SHAPES, fill, refuse_small_disk, simulate
from .footprint import bench_footprint
from .libraries import LIBRARIES, installed
from .reading import bench_reading
from .stalling import bench_stalling
from .table import StoreBench
from .writing import bench_writing

BATCHES = (32, 256)
SPARE_BYTES = 256 << 20


def bench_store(
    folder: Path,
    *,
    rows: int = 512,
    rounds: int = 5,
    shapes: Mapping[str, tuple[int, ...]] = SHAPES,
    batches: tuple[int, ...] = BATCHES,
    libraries: bool = True,
    quiet: bool = False,
) -> StoreBench:
    """Measure reading, waiting, writing and memory below a folder, with simulated features.

    Args:
        folder: where; what is made there is removed again, whatever happens.
        rows: rows of every feature.
        rounds: interleaved rounds of each case.
        shapes: of a row, by feature.
        batches: rows a batch.
        libraries: also measure other libraries that are installed.
        quiet: no progress on stderr.

    Raises:
        ConfigError: too few rows or rounds.
        MachineError: no such folder, not writable, or not enough space.
    """
    if rows < max(batches) or rounds < 1:
        expected = f"at least {max(batches)} rows and 1 round"
        raise ConfigError("nothing to measure", found=f"{rows} rows, {rounds} rounds", expected=expected)
    with own_folder(folder) as own:
        needed = rows * sum(2 * _count(shape) for shape in shapes.values())
        others = sum(installed(library.module) and library.module != "tensorstore" for library in LIBRARIES)
        refuse_small_disk(own, needed * (2 + len(FORMATS) + (others if libraries else 0) * len(batches)) + SPARE_BYTES)
        if not quiet:
            print(f"writing {needed / 1e6:.0f} MB of simulated features, several times, into {own}", file=sys.stderr)
        features = simulate(own, rows, shapes)
        for store_format in FORMATS:
            fill(features, store_format)
        cases = [bench_reading(features, batch, rounds=rounds, libraries=libraries, quiet=quiet) for batch in batches]
        cases.append(bench_stalling(features, batches[0], rounds=rounds, quiet=quiet))
        cases.append(bench_writing(features, rounds=rounds, quiet=quiet))
        cases.append(bench_footprint(own))
        kind = file_system(os.stat(own).st_dev) or "an unknown file system"
    place = (
        f"{folder} ({kind}), {os.cpu_count()} cores; simulated features: random numbers, {needed / rows / 1000:.0f} kB "
        f"a row, {rows} rows.\nRatios of speed inside one round, median of {rounds} rounds [least-most]."
    )
    return StoreBench(place, tuple(cases))


def _count(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


@contextmanager
def own_folder(folder: Path) -> Iterator[Path]:
    """A new folder that is removed at the end, also after a signal."""
    with _signals_raise():
        try:
            made = tempfile.TemporaryDirectory(prefix=".vtt-bench-", dir=folder)
        except OSError as error:
            raise MachineError(f"{folder} cannot be written", found=error.strerror) from error
        with made as own:
            yield Path(own)


@contextmanager
def _signals_raise() -> Iterator[None]:
    """SIGTERM as KeyboardInterrupt, so that what must be removed is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
