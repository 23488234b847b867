"""One frame with what the head says about it: cell scores, refined sub-cell, predicted point, true region."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke

from ...pipeline.metrics.grounding import hits, point_error_px
from .canvas import HEAT, SKY

HALO: list[AbstractPathEffect] = [withStroke(linewidth=3.2, foreground="black")]


@dataclass(frozen=True)
class Panel:
    """What one panel shows. Coordinates are frame pixels (x right, y down; pixel i covers [i, i+1)).

    Args:
        frame: the picture, (height, width, 3).
        scores: sigmoid(a_j) of every coarse cell, (rows, columns).
        column_edges: x of the columns' borders, (columns + 1,); row_edges likewise in y.
        sub_cell: the refined sub-cell as (left, top, right, bottom).
        point: the predicted point (x, y), the sub-cell's centre.
        region: the true region, (height, width); None on a negative row.
        true_point: the region's innermost pixel; None on a negative row.
        heading: where and when the frame is from, such as ``main camera``.
        threshold: a cell is called positive from this score on.
    """

    frame: UInt8[np.ndarray, "h w 3"]
    scores: Float[np.ndarray, "rows columns"]
    column_edges: Float[np.ndarray, " columns_1"]
    row_edges: Float[np.ndarray, " rows_1"]
    sub_cell: tuple[float, float, float, float]
    point: tuple[float, float]
    region: Bool[np.ndarray, "h w"] | None
    true_point: tuple[float, float] | None
    heading: str
    threshold: float = 0.5

    @property
    def top_score(self) -> float:
        """The highest cell score."""
        return float(self.scores.max())

    @property
    def verdict(self) -> str:
        """The outcome in words: HIT or MISS with the error, or for a negative row SILENT or FALSE ALARM."""
        called = self.top_score >= self.threshold
        if self.true_point is None:
            return "FALSE ALARM" if called else "SILENT, rightly"
        error = float(point_error_px(np.array([self.point]), np.array([self.true_point]))[0])
        if self.region is None:
            return f"{error:.0f} px off"
        word = "HIT" if bool(hits(np.array([self.point]), [self.region])[0]) else "MISS"
        return f"{word}, {error:.0f} px off"


def draw_panel(axes: Axes, panel: Panel, *, small: bool = False) -> AxesImage:
    """Draw one panel without words; returns the heat image, from which a colour bar can be made.

    Args:
        axes: where; they are filled to their borders.
        panel: what.
        small: no score in the cells, and lighter marks.
    """
    height, width = panel.frame.shape[:2]
    axes.imshow(panel.frame, extent=(0, width, height, 0), interpolation="antialiased")
    heat = _draw_heat(axes, panel)
    draw_grid(axes, panel)
    draw_marks(axes, panel, small=small)
    fill(axes, (height, width))
    return heat


def fill(axes: Axes, size: tuple[int, int]) -> None:
    """Let a frame of (height, width) pixels fill the axes to their borders."""
    axes.set(xlim=(0, size[1]), ylim=(size[0], 0), xticks=[], yticks=[], aspect="auto")
    axes.spines[:].set_visible(False)


def draw_grid(axes: Axes, panel: Panel) -> None:
    """Draw the borders of the cells."""
    x, y = panel.column_edges, panel.row_edges
    axes.vlines(x, y[0], y[-1], colors="white", linewidth=0.6, alpha=0.45)
    axes.hlines(y, x[0], x[-1], colors="white", linewidth=0.6, alpha=0.45)


def draw_marks(axes: Axes, panel: Panel, *, small: bool = False) -> None:
    """Draw the true region, sub-cell and point, and the scores: all that lies above frame, heat and grid."""
    if panel.region is not None:
        _draw_region(axes, panel.region, 1.1 if small else 1.6)
    if panel.true_point is not None or panel.top_score >= panel.threshold:
        _draw_prediction(axes, panel, 0.6 if small else 1.0)
    if not small:
        _write_scores(axes, panel)


def _draw_heat(axes: Axes, panel: Panel) -> AxesImage:
    x, y = panel.column_edges, panel.row_edges
    return axes.imshow(
        panel.scores, cmap=HEAT, norm=Normalize(0, 1), extent=(x[0], x[-1], y[-1], y[0]), interpolation="nearest"
    )


def _write_scores(axes: Axes, panel: Panel) -> None:
    """Write the score into every positive cell, in the corner away from the predicted point."""
    x, y = panel.column_edges, panel.row_edges
    width, height = x[1] - x[0], y[1] - y[0]
    for row, column in np.argwhere(panel.scores >= panel.threshold):
        left = panel.point[0] > x[column] + width / 2
        top = panel.point[1] > y[row] + height / 2
        axes.text(
            x[column] + width * (0.05 if left else 0.95),
            y[row] + height * (0.06 if top else 0.94),
            f"{panel.scores[row, column]:.2f}",
            ha="left" if left else "right",
            va="top" if top else "bottom",
            fontsize=9,
            color="white",
            path_effects=[withStroke(linewidth=2.2, foreground="black")],
        )


def _draw_region(axes: Axes, region: Bool[np.ndarray, "h w"], width: float) -> None:
    rows, columns = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return
    top, left = rows[0], columns[0]
    padded = np.pad(region[top : rows[-1] + 1, left : columns[-1] + 1].astype(float), 1)  # closes at every border
    x, y = np.arange(padded.shape[1]) + left - 0.5, np.arange(padded.shape[0]) + top - 0.5  # pixel centres
    outline = axes.contour(x, y, padded, levels=[0.5], colors="white", linewidths=width)
    outline.set_path_effects([withStroke(linewidth=2 * width, foreground="black")])


def _draw_prediction(axes: Axes, panel: Panel, weight: float) -> None:
    left, top, right, bottom = panel.sub_cell
    box = Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=SKY, linewidth=2.0 * weight)
    halo: list[AbstractPathEffect] = [withStroke(linewidth=1.6 + 1.6 * weight, foreground="black")]
    box.set_path_effects(halo)
    axes.add_patch(box)
    axes.plot(
        *panel.point, marker="x", markersize=9 * weight, markeredgewidth=2.2 * weight, color=SKY, path_effects=halo
    )
