"""Labelled rows with the head's answers, and one of them as a panel: its frame, and the answer laid over it."""

from dataclasses import dataclass

from ...pipeline.metrics.grounding import sigmoid
from ..frames import Frames
from ..rows import Answers, LabelledRows
from .panel import Panel


@dataclass(frozen=True)
class Shown:
    """The head's answers, ready to be laid over frames.

    Args:
        rows: the split's rows.
        answers: the head's answers to them.
        grid: the coarse grid.
        fine_grid: the grid whose cells the predicted points are centres of; the coarse grid without refinement.
    """

    rows: LabelledRows
    answers: Answers
    grid: tuple[int, int]
    fine_grid: tuple[int, int]


def panel_of(shown: Shown, row: int, frames: Frames, threshold: float, *, heading: str = "") -> Panel:
    """One row's frame with the head's answer. Raises DatasetError for a picture that cannot be had."""
    rows, geometry = shown.rows, shown.rows.geometry[shown.rows.camera[row]]
    column_edges, row_edges = geometry.cell_edges(shown.grid)
    point = shown.answers.points[row]
    known = bool(rows.positive[row])
    return Panel(
        frame=frames(int(rows.episode[row]), rows.camera[row], int(rows.frame[row])),
        scores=sigmoid(shown.answers.logits[row]).reshape(shown.grid),
        column_edges=column_edges,
        row_edges=row_edges,
        sub_cell=_sub_cell(shown, row),
        point=(float(point[0]), float(point[1])),
        region=rows.region(row),
        true_point=(float(rows.points[row, 0]), float(rows.points[row, 1])) if known else None,
        heading=heading,
        threshold=threshold,
    )


def _sub_cell(shown: Shown, row: int) -> tuple[float, float, float, float]:
    """The fine cell around the predicted point as (left, top, right, bottom), frame pixels."""
    geometry = shown.rows.geometry[shown.rows.camera[row]]
    x, y = geometry.cell_edges(shown.fine_grid)
    cell = geometry.cell_of(shown.answers.points[row : row + 1], shown.fine_grid)[0]
    line, column = divmod(int(cell), shown.fine_grid[1])
    return float(x[column]), float(y[line]), float(x[column + 1]), float(y[line + 1])
