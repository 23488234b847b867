"""Original pixels <-> network input <-> token grid.

Coordinates are continuous (x right, y down); pixel (column i, row j) covers [i, i+1) x [j, j+1). Cells of a
grid are numbered row-major. Everything is plain numpy: a recorded geometry needs no network to be undone.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from .spec import ImageSpec


@dataclass(frozen=True)
class FrameGeometry:
    """The affine map from a frame's own pixels to a network's input: ``input = frame * scale + offset``, per axis."""

    frame_height: int
    frame_width: int
    input_height: int
    input_width: int
    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float

    @classmethod
    def of(cls, image: ImageSpec, frame_height: int, frame_width: int) -> "FrameGeometry":
        """The geometry of one frame size under one image spec."""
        height, width = resized_size(image, frame_height, frame_width)
        return cls(
            frame_height=frame_height,
            frame_width=frame_width,
            input_height=image.height,
            input_width=image.width,
            scale_x=width / frame_width,
            scale_y=height / frame_height,
            offset_x=float(image.width - width),
            offset_y=float(image.height - height),
        )

    def to_input(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Frame pixels (x, y) to network-input pixels."""
        return points * [self.scale_x, self.scale_y] + [self.offset_x, self.offset_y]

    def to_frame(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Network-input pixels (x, y) to frame pixels."""
        return (points - [self.offset_x, self.offset_y]) / [self.scale_x, self.scale_y]

    def cell_of(self, points: Float[np.ndarray, "n 2"], grid: tuple[int, int]) -> Int[np.ndarray, " n"]:
        """The row-major cell in which each frame point lies (clipped into the grid)."""
        x, y = self.to_input(points).T
        column = np.clip(np.floor(x / self.input_width * grid[1]), 0, grid[1] - 1)
        row = np.clip(np.floor(y / self.input_height * grid[0]), 0, grid[0] - 1)
        return (row * grid[1] + column).astype(np.int64)

    def cell_centre(self, cells: Int[np.ndarray, " n"], grid: tuple[int, int]) -> Float[np.ndarray, "n 2"]:
        """The frame point (x, y) at each cell's centre."""
        row, column = np.divmod(np.asarray(cells), grid[1])
        x = (column + 0.5) * self.input_width / grid[1]
        y = (row + 0.5) * self.input_height / grid[0]
        return self.to_frame(np.stack([x, y], axis=-1))

    def cell_edges(self, grid: tuple[int, int]) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, " r"]]:
        """Frame x of the grid's column borders and frame y of its row borders (grid + 1 values each)."""
        x = np.linspace(0, self.input_width, grid[1] + 1)
        y = np.linspace(0, self.input_height, grid[0] + 1)
        return (x - self.offset_x) / self.scale_x, (y - self.offset_y) / self.scale_y

    def overlaps(self, grid: tuple[int, int]) -> tuple[Float[np.ndarray, "r h"], Float[np.ndarray, "c w"]]:
        """How much of each frame pixel's height lies in each grid row, and of its width in each grid column."""
        edges_x, edges_y = self.cell_edges(grid)
        return _overlap(edges_y, self.frame_height), _overlap(edges_x, self.frame_width)

    def cell_areas(self, grid: tuple[int, int]) -> Float[np.ndarray, "r c"]:
        """Area of every cell in frame pixels, the parts that lie in padding included."""
        edges_x, edges_y = self.cell_edges(grid)
        return np.outer(np.diff(edges_y), np.diff(edges_x))

    def cell_shares(
        self, mask: Bool[np.ndarray, "h w"], grid: tuple[int, int]
    ) -> tuple[Float[np.ndarray, " cells"], Float[np.ndarray, " cells"]]:
        """How much of each cell a region covers, and how much of the region lies in each cell.

        Exact areas: every frame pixel is a unit square, split between the cells it touches.

        Returns:
            (coverage of the cell, share of the region), both (cells,), both 0 for an empty region.
        """
        in_row, in_column = self.overlaps(grid)
        area = in_row @ mask.astype(np.float64) @ in_column.T  # (rows, columns) frame pixels of the region
        total = float(mask.sum())
        return (area / self.cell_areas(grid)).ravel(), (area / total if total else area).ravel()


def resized_size(image: ImageSpec, frame_height: int, frame_width: int) -> tuple[int, int]:
    """Height and width of the frame's content inside the network input."""
    if image.resize == "squash":
        return image.height, image.width
    ratio = max(frame_width / image.width, frame_height / image.height)
    return int(frame_height / ratio), int(frame_width / ratio)


def _overlap(edges: Float[np.ndarray, " e"], size: int) -> Float[np.ndarray, "cells size"]:
    """Length of the intersection of every cell [edge_c, edge_c+1) with every unit pixel [i, i+1)."""
    start = np.arange(size)
    low = np.maximum(edges[:-1, None], start)
    high = np.minimum(edges[1:, None], start + 1)
    return np.maximum(0.0, high - low)
