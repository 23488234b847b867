"""The rows that are judged and what a contender says about them, as plain arrays in one order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ..pipeline.geometry import FrameGeometry

NEGATIVE, UNKNOWN = "negative", "unknown"


@dataclass(frozen=True)
class LabelledRows:
    """One split's queries with their labels, n rows.

    Args:
        episode: episode of each row.
        frame: frame within the episode.
        camera: short camera name of each row.
        instruction: what was asked.
        target: what the instruction means here; "" on negative rows.
        phase: part of the task; "" when unknown.
        cells: which coarse cells are relevant, (n, cells); no cell on a negative row.
        points: the target's innermost pixel (x, y), frame pixels; nan on negative rows.
        region: the target's region (h, w) of a row number; None on a negative row or where only a point is known.
        geometry: frame pixels to grid cells, by camera; a camera whose frame size no label says is left out.
    """

    episode: Int[np.ndarray, " n"]
    frame: Int[np.ndarray, " n"]
    camera: tuple[str, ...]
    instruction: tuple[str, ...]
    target: tuple[str, ...]
    phase: tuple[str, ...]
    cells: Bool[np.ndarray, "n cells"]
    points: Float[np.ndarray, "n 2"]
    region: Callable[[int], Bool[np.ndarray, "h w"] | None]
    geometry: dict[str, FrameGeometry]

    def __len__(self) -> int:
        return len(self.camera)

    def take(self, numbers: Int[np.ndarray, " m"]) -> "LabelledRows":
        """The rows of these numbers, in this order."""
        texts: dict[str, Any] = {
            name: tuple(getattr(self, name)[i] for i in numbers)
            for name in ("camera", "instruction", "target", "phase")
        }
        arrays: dict[str, Any] = {
            name: getattr(self, name)[numbers] for name in ("episode", "frame", "cells", "points")
        }
        region = self.region
        return LabelledRows(**arrays, **texts, region=lambda row: region(int(numbers[row])), geometry=self.geometry)

    @property
    def positive(self) -> Bool[np.ndarray, " n"]:
        """Which rows have a target."""
        return np.asarray(self.cells.any(axis=1))

    def groups(self, by: str) -> tuple[str, ...]:
        """The group of every row: by ``target`` (negative rows apart), ``camera``, ``phase`` or ``episode``."""
        if by == "target":
            return tuple(
                name if positive else NEGATIVE for name, positive in zip(self.target, self.positive, strict=True)
            )
        if by == "episode":
            return tuple(f"{number:06d}" for number in self.episode.tolist())
        return tuple(name or UNKNOWN for name in getattr(self, by))

    def cell_centres(self, cells: Int[np.ndarray, " n"], grid: tuple[int, int]) -> Float[np.ndarray, "n 2"]:
        """The frame point (x, y) at the centre of one cell a row; nan for a camera of unknown geometry."""
        centres = np.full((len(self), 2), np.nan)
        names = np.array(self.camera, dtype=object)
        for camera, geometry in self.geometry.items():
            mine = names == camera
            centres[mine] = geometry.cell_centre(cells[mine], grid)
        return centres


@dataclass(frozen=True)
class Answers:
    """What one contender says about rows.

    Args:
        logits: a_j of every cell, (n, cells).
        points: the predicted point (x, y) of each row, frame pixels.
        losses: its loss terms over the rows, by name; none where nothing was trained.
    """

    logits: Float[np.ndarray, "n cells"]
    points: Float[np.ndarray, "n 2"]
    losses: Mapping[str, float] = field(default_factory=dict)
