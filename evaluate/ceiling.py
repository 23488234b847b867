"""What the grids allow: how well a contender could do that always names the right cells."""

import numpy as np
from jaxtyping import Float

from .rows import Answers, LabelledRows
from .scores import Scores, score


def ceiling(rows: LabelledRows, grid: tuple[int, int], fine_grid: tuple[int, int] | None) -> dict[str, Scores]:
    """The scores of perfect cells, with the point at the centre of the true point's own cell.

    A small or hollow target can be missed even so, and no head on these grids can do better on purpose.

    Args:
        rows: the labelled rows.
        grid: the coarse grid, for ``cell centre``.
        fine_grid: the refinement's grid, for ``sub-cell centre``; None without refinement.
    """
    grids = {"cell centre": grid} | ({"sub-cell centre": fine_grid} if fine_grid else {})
    logits = np.where(rows.cells, np.inf, -np.inf)
    return {name: score(Answers(logits, nearest_centres(rows, g)), rows, 0.5) for name, g in grids.items()}


def nearest_centres(rows: LabelledRows, grid: tuple[int, int]) -> Float[np.ndarray, "n 2"]:
    """The centre (x, y) of the cell in which each row's true point lies, frame pixels; cell 0 on negative rows."""
    cells = np.zeros(len(rows), dtype=np.int64)
    for row in np.flatnonzero(rows.positive):
        cells[row] = rows.geometry[rows.camera[row]].cell_of(rows.points[row : row + 1], grid)[0]
    return rows.cell_centres(cells, grid)
