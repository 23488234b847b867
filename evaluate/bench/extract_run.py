"""The whole bench of the extraction: make a dataset and checkpoints, measure, leave nothing behind."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from ...extract.backbones import find_backbone
from ...extract.backbones.base import Backbone
from ...extract.dataset import Dataset
from ...pipeline.datasets.lerobot import open_source
from ...pipeline.datasets.world.cubes import CubesConfig, write_cubes
from ...pipeline.errors import ConfigError
from ...pipeline.machine import file_system
from .extraction import Subject, bench_extraction
from .features import refuse_small_disk
from .full_size import write_full_size, write_tiny
from .run import own_folder
from .table import Case, StoreBench

type Size = Literal["tiny", "full-size"]

BATCH_SIZE = 16


class Measured(NamedTuple):
    """A size of backbone: its checkpoint, its bar on the CPU, how many frames, beside the naive loop or not."""

    write: Callable[[Path], Path]
    bar: float
    frames: int
    naive: bool
    needed_bytes: int


SIZES: dict[Size, Measured] = {
    "tiny": Measured(write_tiny, 0.75, 320, True, 500 << 20),
    "full-size": Measured(write_full_size, 0.95, 32, False, 4 << 30),
}


def bench_extract(
    folder: Path,
    *,
    sizes: Sequence[Size] = ("tiny", "full-size"),
    frames: int | None = None,
    rounds: int = 3,
    batch_size: int = BATCH_SIZE,
    quiet: bool = False,
) -> StoreBench:
    """Measure the extraction of simulated episodes with random X-VLAs, on the CPU and on a GPU if there is one.

    Args:
        folder: where; what is made there is removed again, whatever happens.
        sizes: of the backbone.
        frames: frames a run; None is 320 of the tiny one, 32 of the full-size one on a CPU.
        rounds: interleaved rounds of each case.
        batch_size: frames a batch.
        quiet: no progress on stderr.

    Raises:
        ConfigError: nothing to measure.
        MachineError: no such folder, not writable, or not enough space.
    """
    if not sizes or rounds < 1 or batch_size < 1 or (frames is not None and frames < 2):
        raise ConfigError("nothing to measure", found=f"{sizes}, {frames} frames, {rounds} rounds of {batch_size}")
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    with own_folder(folder) as own, _quiet_libraries():
        refuse_small_disk(own, max(SIZES[size].needed_bytes for size in sizes))
        wanted = {size: _even(frames or SIZES[size].frames) for size in sizes}
        dataset = _dataset(own, max(*wanted.values(), *([320] if "cuda" in devices else [0])), quiet=quiet)
        cases: list[Case] = []
        for size in sizes:
            if not quiet:
                print(f"writing a {size} X-VLA with random weights", file=sys.stderr)
            checkpoint = SIZES[size].write(own / size)
            for device in devices:
                subject = _subject(size, checkpoint, dataset, torch.device(device))
                count = _even(frames or 320) if device == "cuda" else wanted[size]
                subject = replace(subject, frames=count, batch_size=batch_size, folder=own)
                cases.append(bench_extraction(subject, rounds=rounds, quiet=quiet))
        kind = file_system(os.stat(own).st_dev) or "an unknown file system"
    place = (
        f"{folder} ({kind}), {os.cpu_count()} cores; simulated frames of 320 x 240, bf16, one instruction a frame.\n"
        f"Ratios of speed inside one round, median of {rounds} rounds [least-most]; weights are loaded before."
    )
    return StoreBench(place, tuple(cases))


def _subject(size: Size, checkpoint: Path, dataset: Dataset, device: torch.device) -> Subject:
    measured, cuda = SIZES[size], device.type == "cuda"
    backbone = load_backbone(checkpoint, device)
    return Subject(
        title=f"extraction with the {size} X-VLA on {device.type}",
        backbone=backbone,
        dataset=dataset,
        frames=measured.frames,
        batch_size=BATCH_SIZE,
        decode_threads=min(8, max(1, (os.cpu_count() or 1) // 2)) if cuda else 1,
        folder=checkpoint.parent,
        bar=None if cuda else measured.bar,
        naive=measured.naive,
    )


def load_backbone(checkpoint: Path, device: torch.device) -> Backbone:
    """An X-VLA that makes Z and R in bfloat16."""
    kind = find_backbone("xvla")
    specs = kind.describe(
        str(checkpoint),
        features=("z", "r"),
        dtype="bf16",
        resize=None,
        image_size=None,
        frame_size=None,
        options={},
        revision=None,
        hash_cache=None,
        hub_cache=None,
    )
    return kind.load(str(checkpoint), specs, device=device, revision=None, hub_cache=None)


def _dataset(folder: Path, frames: int, *, quiet: bool) -> Dataset:
    """Two cameras, so an episode has twice as many frames as it is long; without labels every frame has its task."""
    length = min(40, max(12, frames // 6))
    episodes = max(3, -(-frames // (2 * length)))
    config = CubesConfig(folder / "cubes", episodes=episodes, frames=length, workers=0, progress=not quiet)
    manifest = replace(write_cubes(config), labels=None)
    return Dataset(manifest, open_source(manifest))


def _even(frames: int) -> int:
    return frames + frames % 2


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """What LeRobot's dependencies warn of while they are imported is not about us."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
