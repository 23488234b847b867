"""The whole bench of the training: make a backbone and simulated episodes, measure, leave nothing behind."""

import os
import resource
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from ...extract.backbones.base import Backbone
from ...pipeline.errors import ConfigError
from ...pipeline.machine import file_system
from ...pipeline.store import FeatureStore
from .extract_run import BATCH_SIZE, load_backbone
from .features import refuse_small_disk
from .full_size import write_full_size, write_tiny
from .run import own_folder
from .table import Bar, Case, Line, StoreBench
from .training import BAR, Pace, bench_steps
from .training_data import EPISODE_FRAMES, open_run, simulate_episodes
from .training_epoch import EpochPace, bench_epoch

type Size = Literal["tiny", "full-size"]

MOST_BYTES = 16 << 30


class Measured(NamedTuple):
    """A size: its backbone and recipe, simulated frames, steps a slice, slices a round, whether bars apply."""

    write: Callable[[Path], Path]
    recipe: str
    frames: int
    steps: int
    slices: int
    bars: bool
    needed_bytes: int


SIZES: dict[Size, Measured] = {
    "tiny": Measured(write_tiny, "ground-world", 3 * EPISODE_FRAMES, 4, 1, False, 100 << 20),
    "full-size": Measured(write_full_size, "ground", 16 * EPISODE_FRAMES, 5, 2, True, 4 << 30),
}


def bench_train(
    folder: Path,
    *,
    sizes: Sequence[Size] = ("full-size",),
    rounds: int = 3,
    workers: tuple[int, ...] = (0, 2),
    quiet: bool = False,
) -> StoreBench:
    """Measure training on the CPU: from the store beside memory, zarr-python, and the backbone in the loop.

    Args:
        folder: where; what is made there is removed again, whatever happens.
        sizes: of the backbone and the head.
        rounds: interleaved rounds of each case.
        workers: processes of each zarr-python DataLoader to compare with.
        quiet: no progress on stderr.

    Raises:
        ConfigError: nothing to measure.
        MachineError: no such folder, not writable, or not enough space.
    """
    if not sizes or rounds < 1:
        raise ConfigError("nothing to measure", found=f"{sizes}, {rounds} rounds", expected="a size, at least 1 round")
    with own_folder(folder) as own, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what LeRobot's dependencies say while they are imported
        refuse_small_disk(own, max(SIZES[size].needed_bytes for size in sizes))
        cases = [case for size in sizes for case in _bench(own, size, rounds, workers, quiet=quiet)]
        kind = file_system(os.stat(own).st_dev) or "an unknown file system"
    place = (
        f"{folder} ({kind}), {os.cpu_count()} cores, {torch.get_num_threads()} threads; simulated features, stored and "
        f"computed in bf16, the head alone on the CPU.\n"
        f"Ratios of speed inside one round, median of {rounds} rounds [least-most]."
    )
    return StoreBench(place, (*cases, _memory()))


def _bench(folder: Path, size: Size, rounds: int, workers: tuple[int, ...], *, quiet: bool) -> list[Case]:
    measured, own = SIZES[size], folder / size
    _say(f"writing a {size} X-VLA with random weights", quiet)
    backbone: Backbone = load_backbone(measured.write(own / "checkpoint"), torch.device("cpu"))
    _say(f"simulating {measured.frames} frames with two queries each", quiet)
    manifest = simulate_episodes(own, backbone.specs, measured.frames)
    paths = {array.spec.name: array.path for array in FeatureStore.open(own / "store").arrays()}
    steps = Pace(
        steps=measured.steps,
        zarr_steps=2 * measured.steps,
        slices=measured.slices,
        rounds=rounds,
        workers=workers,
        bar=BAR if measured.bars else None,
        quiet=quiet,
    )
    with open_run(manifest, measured.recipe) as run:
        batch = run.config.batch_size
        epoch = EpochPace(measured.steps, batch, BATCH_SIZE, rounds, bar=20.0 if measured.bars else None, quiet=quiet)
        return [bench_steps(run, paths, steps), bench_epoch(run, backbone, own, epoch)]


def _memory() -> Case:
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bar = Bar(f"< {MOST_BYTES >> 30} GiB", peak < MOST_BYTES)
    return Case("memory", (Line("this process at its largest", f"{peak / 2**30:.1f} GiB", {}, bars=(bar,)),))


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        print(text, file=sys.stderr)
