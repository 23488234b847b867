"""From what a task keeps of every frame to its numbers, pooled and by camera, phase and episode."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from ..pipeline.datasets.labels import read_labels
from ..pipeline.manifest import DatasetManifest
from ..pipeline.metrics.curves import groups_of
from ..train.joins import FRAME
from ..train.tasks.base import Arrays
from .rows import UNKNOWN

type Labels = Mapping[str, tuple[str, ...]]
"""Grouping -> the group of every frame, (n,)."""


@dataclass(frozen=True)
class Measures:
    """One contender's numbers on some frames; nan where nothing could be measured.

    Args:
        rows: frames judged.
        values: metrics by name.
    """

    rows: int
    values: Mapping[str, float]

    def to_json(self) -> dict[str, float | int | None]:
        """A flat dictionary; what was not measured is None."""
        known = {name: value if math.isfinite(value) else None for name, value in self.values.items()}
        return {**known, "rows": self.rows}


def measure_by(
    metrics: Callable[[Arrays], Mapping[str, float]], arrays: Arrays, labels: Labels
) -> dict[str, dict[str, Measures]]:
    """The metrics of every group of frames: grouping -> group -> numbers."""
    return {
        by: {name: measure_where(metrics, arrays, rows) for name, rows in groups_of(groups).items()}
        for by, groups in labels.items()
    }


def measure_where(
    metrics: Callable[[Arrays], Mapping[str, float]], arrays: Arrays, rows: Int[np.ndarray, " m"] | slice = slice(None)
) -> Measures:
    """The metrics of some frames, all by default."""
    chosen = {name: values[rows] for name, values in arrays.items()}
    return Measures(len(next(iter(chosen.values()))), metrics(chosen))


def frame_labels(frames: pa.Table, manifest: DatasetManifest) -> Labels:
    """Camera and episode of every frame, and the phase where labels say it."""
    return {name: tuple(groups) for name, groups in _groups(frames, manifest)}


def _groups(frames: pa.Table, manifest: DatasetManifest) -> Iterator[tuple[str, list[str]]]:
    yield "camera", frames["camera"].to_pylist()
    if manifest.labels is not None:
        known = read_labels(manifest.labels).select([*FRAME, "phase"])
        phases = dict(zip(_keys(known), known["phase"].to_pylist(), strict=True))
        found = [phases.get(key) or UNKNOWN for key in _keys(frames)]
        if set(found) != {UNKNOWN}:
            yield "phase", found
    yield "episode", [f"{number:06d}" for number in frames["episode_index"].to_pylist()]


def _keys(table: pa.Table) -> Iterator[tuple[object, ...]]:
    return zip(*(table[name].to_pylist() for name in FRAME), strict=True)
