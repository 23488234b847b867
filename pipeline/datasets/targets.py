"""Training targets of grounding: which cells of the token grid hold the target, and in which sub-cell its point lies.

Spec of the paper's section 2.2.3 and its open ends [open]: a cell is positive if the target covers at least 25% of
it, or if it holds at least 15% of the target's area; the cell with the largest share always is. With only a point,
the cell of the point. The point of a region is its innermost pixel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from ..errors import ConfigError, ManifestError
from ..geometry import FrameGeometry
from ..spec import ImageSpec
from .masks import contains, decode_rle, innermost_pixel, occupied_columns, parse_runs

MIN_COVERAGE = 0.25  # of the cell's area [open]
MIN_SHARE = 0.15  # of the target's area [open]
NOWHERE = -1  # the cell of a negative row

Grid = tuple[int, int]
Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class GroundingTargets:
    """Targets of n label rows, in their order.

    Args:
        cells: (n, cells of the coarse grid), the positive cells; all False in a negative row.
        coarse: (n,), c*: the coarse cell of the point; -1 in a negative row.
        fine: (n,), u*: the sub-cell of the point inside c*, row-major; -1 in a negative row.
        positive: (n,), whether the instruction's target is in view.
        point: (n, 2), the target's point (x, y) in original pixels; NaN in a negative row.
        has_region: (n,), whether the target's region is known, and not only a point.
    """

    cells: Bool[np.ndarray, "n cells"]
    coarse: Int[np.ndarray, " n"]
    fine: Int[np.ndarray, " n"]
    positive: Bool[np.ndarray, " n"]
    point: Float[np.ndarray, "n 2"]
    has_region: Bool[np.ndarray, " n"]


def targets_of(
    labels: pa.Table,
    image: ImageSpec,
    grid: Grid,
    fine_grid: Grid,
    *,
    frame_sizes: Mapping[str, Size] | None = None,
) -> GroundingTargets:
    """Targets of every row of a label table (see :mod:`.labels`).

    Args:
        labels: the rows.
        image: how frames became network inputs.
        grid: (rows, columns) of the coarse tokens.
        fine_grid: (rows, columns) of the refinement map, a multiple of ``grid``.
        frame_sizes: (height, width) by camera, for rows that have a point but no size of their own.

    Raises:
        ConfigError: ``fine_grid`` is no multiple of ``grid``.
        ManifestError: a row whose frame size is unknown.
    """
    _factor(grid, fine_grid)
    rows = labels.to_pylist()
    positive = labels["positive"].to_numpy().astype(bool)
    has_region = np.array([row["mask"] is not None for row in rows], dtype=bool)
    point = np.array([_point(row) for row in rows], dtype=np.float64).reshape(-1, 2)
    cells = np.zeros((len(rows), grid[0] * grid[1]), dtype=bool)
    coarse, fine = (np.full(len(rows), NOWHERE, dtype=np.int64) for _ in range(2))
    for size, members in _by_size(rows, frame_sizes or {}).items():
        geometry = FrameGeometry.of(image, *size)
        coarse[members], fine[members] = point_cells(point[members], geometry, grid, fine_grid)
        cells[members, coarse[members]] = True  # replaced below where the region is known
        regions = members[has_region[members]]
        if regions.size:
            cells[regions] = _region_cells([rows[row]["mask"] for row in regions], geometry, grid)
    return GroundingTargets(cells, coarse, fine, positive, point, has_region)


def cell_targets(
    target: Bool[np.ndarray, "h w"] | tuple[float, float], geometry: FrameGeometry, grid: Grid
) -> Bool[np.ndarray, " cells"]:
    """The positive cells of one target, given as its mask or as its point (x, y) in original pixels."""
    if isinstance(target, tuple):
        cells = np.zeros(grid[0] * grid[1], dtype=bool)
        cells[geometry.cell_of(np.array([target]), grid)] = True
        return cells
    coverage, share = geometry.cell_shares(target, grid)
    return positive_cells(coverage[None], share[None])[0]


def positive_cells(
    coverage: Float[np.ndarray, "n cells"], share: Float[np.ndarray, "n cells"]
) -> Bool[np.ndarray, "n cells"]:
    """coverage >= 25% of the cell, or share >= 15% of the target, or the largest share (the first, if several).

    Areas are rounded at 1e-9, so that a tie is a tie whatever the order in which they were added up. An empty
    target has no cell.
    """
    coverage, share = coverage.round(9), share.round(9)
    cells = (coverage >= MIN_COVERAGE) | (share >= MIN_SHARE)
    cells[np.arange(len(cells)), share.argmax(axis=1)] = True
    result: Bool[np.ndarray, "n cells"] = cells & (share > 0)
    return result


def point_target(
    point: tuple[float, float], geometry: FrameGeometry, coarse_grid: Grid, fine_grid: Grid
) -> tuple[int, int]:
    """(c*, u*): the coarse cell of a point (x, y), and its sub-cell inside that cell, row-major (2x2: 0 to 3)."""
    coarse, fine = point_cells(np.array([point]), geometry, coarse_grid, fine_grid)
    return int(coarse[0]), int(fine[0])


def point_cells(
    points: Float[np.ndarray, "n 2"], geometry: FrameGeometry, coarse_grid: Grid, fine_grid: Grid
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """(c*, u*) of many points of one frame size, both (n,); see :func:`point_target`."""
    down, across = _factor(coarse_grid, fine_grid)
    row, column = np.divmod(geometry.cell_of(points, fine_grid), fine_grid[1])
    coarse = row // down * coarse_grid[1] + column // across
    return coarse, row % down * across + column % across


def region_contains(labels: pa.Table, points: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
    """Whether each point (x, y), in original pixels, lies in the region of its label row; False where none is known."""
    hits = np.zeros(len(points), dtype=bool)
    for row, (values, point) in enumerate(zip(labels.to_pylist(), points, strict=True)):
        if values["mask"] is not None and np.isfinite(point).all():
            height, width = values["mask_height"], values["mask_width"]
            hits[row] = contains(parse_runs(values["mask"], height * width), height, width, (point[0], point[1]))
    return hits


def _region_cells(masks: list[str], geometry: FrameGeometry, grid: Grid) -> Bool[np.ndarray, "n cells"]:
    """Positive cells of many regions of one frame size; only the columns that a region touches are decoded."""
    in_row, in_column = geometry.overlaps(grid)  # (rows, h), (columns, w)
    height, pixels = geometry.frame_height, geometry.frame_height * geometry.frame_width
    areas = np.empty((len(masks), *grid))
    totals = np.empty((len(masks), 1, 1))
    for i, mask in enumerate(masks):
        runs = parse_runs(mask, pixels)
        first, region = occupied_columns(runs, height)  # (columns touched, h)
        areas[i] = in_row @ (in_column[:, first : first + len(region)] @ region).T
        totals[i] = runs[1::2].sum()
    coverage, share = areas / geometry.cell_areas(grid), areas / totals
    return positive_cells(coverage.reshape(len(masks), -1), share.reshape(len(masks), -1))


def _point(row: Mapping[str, Any]) -> tuple[float, float]:
    if not row["positive"]:
        return (np.nan, np.nan)
    if row["point_x"] is not None:
        return (row["point_x"], row["point_y"])
    return innermost_pixel(decode_rle(row["mask"], row["mask_height"], row["mask_width"]))


def _by_size(rows: list[dict[str, Any]], frame_sizes: Mapping[str, Size]) -> dict[Size, Int[np.ndarray, " rows"]]:
    """The positive rows, grouped by the size of their frame."""
    groups: dict[Size, list[int]] = {}
    for number, row in enumerate(rows):
        if row["positive"]:
            groups.setdefault(_size(row, number, frame_sizes), []).append(number)
    return {size: np.array(members) for size, members in groups.items()}


def _size(row: Mapping[str, Any], number: int, frame_sizes: Mapping[str, Size]) -> Size:
    own = None if row["mask_height"] is None else (row["mask_height"], row["mask_width"])
    known = frame_sizes.get(row["camera"], own)
    if known is None:
        raise ManifestError(
            f"label row {number} has a point, but the size of its frame is unknown",
            expected="mask_height and mask_width, which may be given without a mask",
        )
    if own not in (None, known):
        raise ManifestError(f"label row {number} has a mask of another size than its frame", found=own, expected=known)
    return known


def _factor(coarse_grid: Grid, fine_grid: Grid) -> tuple[int, int]:
    """Sub-cells of one cell: (rows, columns)."""
    if fine_grid[0] % coarse_grid[0] or fine_grid[1] % coarse_grid[1]:
        raise ConfigError(
            "the refinement map does not divide the token grid's cells", found=fine_grid, expected=coarse_grid
        )
    return fine_grid[0] // coarse_grid[0], fine_grid[1] // coarse_grid[1]
