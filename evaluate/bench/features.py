"""What the bench reads and writes: simulated features of the sizes that real ones have."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int, Shaped, UInt16

from ...pipeline.errors import MachineError
from ...pipeline.spec import FeatureSpec, ImageSpec, TokenLayout
from ...pipeline.store import ArrayPlan, FeatureStore, commit_part, plan_array
from ...pipeline.store.commit import own_errors

FORMATS = ("zarr", "hdf5")
SHAPES = {"z": (100, 1024), "r": (14, 14, 1024)}
"""X-VLA's fused tokens and its vision tower's map: 205 and 401 kB a row in bfloat16."""

NEVER_WRITTEN = 0xFFFF
"""A NaN, which no simulated feature holds."""

type Batch = Mapping[str, Shaped[np.ndarray, " b *shape"]]
"""Rows by feature, as bfloat16 bits."""


@dataclass(frozen=True)
class Features:
    """Simulated features in memory and where they lie on disk.

    Args:
        folder: a folder of its own.
        values: (rows, *shape) bfloat16 bits by feature: random numbers, all finite.
    """

    folder: Path
    values: Mapping[str, UInt16[np.ndarray, " rows *shape"]]
    _buffers: dict[int, dict[str, UInt16[np.ndarray, " b *shape"]]] = field(default_factory=dict, repr=False)

    @property
    def rows(self) -> int:
        """Rows of every feature."""
        return len(next(iter(self.values.values())))

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of all features."""
        return sum(values[0].nbytes for values in self.values.values())

    def npy(self, name: str) -> Path:
        """The plain .npy file of a feature."""
        return self.folder / f"{name}.npy"

    def store(self, store_format: str) -> Path:
        """The feature store in a format."""
        return self.folder / store_format

    def buffers(self, batch: int) -> dict[str, UInt16[np.ndarray, " b *shape"]]:
        """Buffers of a batch, their pages touched; everybody reads into the same."""
        if batch not in self._buffers:
            shapes = {name: (batch, *values.shape[1:]) for name, values in self.values.items()}
            self._buffers[batch] = {name: np.ones(shape, np.uint16) for name, shape in shapes.items()}
        return self._buffers[batch]

    def holds(self, batch: Batch, rows: Int[np.ndarray, " b"]) -> bool:
        """Whether a batch is these rows, bit for bit."""
        return all(
            np.array_equal(np.asarray(batch[name]).reshape(values[rows].shape), values[rows])
            for name, values in self.values.items()
        )


def simulate(folder: Path, rows: int, shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> Features:
    """Random finite bfloat16 numbers as plain .npy files; MachineError if they cannot be written."""
    rng = np.random.default_rng(0)
    values = {name: rng.integers(0, 0x7F80, (rows, *shape), np.uint16) for name, shape in shapes.items()}
    found = Features(folder, values)
    for name, numbers in values.items():
        with own_errors(found.npy(name)):
            np.save(found.npy(name), numbers)
    return found


def spec_of(name: str, shape: tuple[int, ...]) -> FeatureSpec:
    """The spec of a simulated feature."""
    compute = {"backbone": "simulated", "numerics": 1}
    return FeatureSpec(name, "frame", shape, TokenLayout((1, 1)), ImageSpec(224, 224), "bf16", compute)


def index_of(rows: int) -> pa.Table:
    """An index of simulated frames."""
    number = np.arange(rows)
    return pa.table(
        {
            "repo_id": ["simulated/frames"] * rows,
            "revision": ["0"] * rows,
            "episode_index": (number // 500).tolist(),
            "frame_index": (number % 500).tolist(),
            "camera": ["main"] * rows,
            "timestamp_s": (number % 500 / 30).tolist(),
        }
    )


def plan(store: FeatureStore, name: str, shape: tuple[int, ...], rows: int, store_format: str) -> ArrayPlan:
    """The array of a simulated feature, made."""
    (found,) = plan_array(store, spec_of(name, shape), index_of(rows), store_format=store_format)
    return found


def fill(features: Features, store_format: str) -> None:
    """Write the features into a store of that format."""
    store = FeatureStore.create(features.store(store_format))
    for name, values in features.values.items():
        array = plan(store, name, values.shape[1:], len(values), store_format)
        for part in array.missing:
            rows = array.part_range(part)
            commit_part(store, array, part, values[rows.start : rows.stop])


def refuse_small_disk(folder: Path, needed: int) -> None:
    """MachineError unless that many bytes are free below a folder."""
    place = os.statvfs(folder)
    free = place.f_bavail * place.f_frsize
    if needed > free:
        raise MachineError(
            f"not enough space in {folder} for the bench",
            found=f"{free / 1e9:.2f} GB free",
            expected=f"{needed / 1e9:.2f} GB",
            remedy="name another folder with --dir, or fewer rows with --rows",
        )
