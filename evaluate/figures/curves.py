"""Precision against recall, and calibration: how often cells of a score are relevant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes

from ...pipeline.metrics.calibration import SCORED, Calibration
from ...pipeline.metrics.curves import CurvePoint
from .canvas import BLUE, FAINT, INK
from .lines import LINE_PT, STYLES, Ending, finish, spread
from .missing import NoFigure
from .sheet import BODY_IN, HEAD_PT, SMALL_PT, Sheet

CHART_IN, HEAD_IN, AXIS_IN, LEFT_IN, BETWEEN_IN, COUNT_IN = 3.7, 0.64, 0.45, 0.55, 0.25, 0.75
NAMED_AT, NAMED_OVER = 0.1, np.linspace(0.1, 0.45, 8)  # recall where a curve bears its name, which must be free
LINE_POINTS = 150  # drawn of a curve
SHARES = ("recall", "precision")


@dataclass(frozen=True)
class Shares:
    """One contender's precision by recall.

    Args:
        curve: from its strictest to its most lenient threshold; nothing where no cell is relevant.
        average_precision: the curve's area; None where nothing is relevant.
        operating: (recall, precision) at its threshold; None to mark none.
    """

    curve: Sequence[CurvePoint]
    average_precision: float | None
    operating: tuple[float, float] | None = None


def draw_curves(
    curves: Mapping[str, Shares],
    calibration: Calibration,
    path: Path,
    *,
    title: str,
    caption: str,
    simulated: bool,
) -> Path:
    """Write a PNG: precision against recall of every contender (left), calibration of the head (right).

    Args:
        curves: by display name; the first is the head.
        calibration: of the head.
        path: the PNG file.
        title: of which run.
        caption: split and run.
        simulated: stamp SIMULATED.

    Raises:
        NoFigure: there is no contender.
    """
    if not curves:
        raise NoFigure(path.stem, "there is no contender to draw")
    sheet = Sheet(title, caption, HEAD_IN + CHART_IN + AXIS_IN, simulated=simulated)
    width = (BODY_IN - 2 * LEFT_IN - BETWEEN_IN) / 2
    right = 2 * LEFT_IN + width + BETWEEN_IN
    sheet.write(LEFT_IN, 0.0, "precision against recall", size=HEAD_PT, weight="bold")
    sheet.write(right, 0.0, "calibration of the head", size=HEAD_PT, weight="bold")
    sheet.write(right, 0.2, _errors(calibration), size=SMALL_PT, color=FAINT)
    _draw_precision(sheet.axes(LEFT_IN, HEAD_IN, width, CHART_IN), curves)
    upper = CHART_IN - COUNT_IN - 0.12
    _draw_calibration(sheet.axes(right, HEAD_IN, width, upper), calibration)
    _draw_counts(sheet.axes(right, HEAD_IN + upper + 0.12, width, COUNT_IN), calibration)
    return sheet.save(path)


def _errors(found: Calibration) -> str:
    return (
        f"error {found.scored_error:.3f} over cells that score {SCORED:g} or more,\n"
        f"{found.error:.3f} over all, of which {found.base_rate:.1%} are relevant"
    )


def _draw_precision(axes: Axes, curves: Mapping[str, Shares]) -> None:
    named = []
    for number, (name, curve) in enumerate(curves.items()):
        color, line = STYLES[number % len(STYLES)]
        recall, precision = (np.array([getattr(point, what) for point in curve.curve]) for what in SHARES)
        shown = _thinned(recall)
        axes.plot(
            recall[shown],
            precision[shown],
            color=color,
            linestyle=line,
            linewidth=2.6 if number == 0 else 1.8,
            zorder=4 if number == 0 else 3,
        )
        if curve.average_precision is not None:
            height = float(np.interp(NAMED_OVER, recall, precision).min())
            named.append(Ending(f"{name}, AP {curve.average_precision:.3f}", height - 0.04, color, number == 0))
        if curve.operating is not None:
            axes.plot(*curve.operating, marker="D", markersize=8, color=color, markeredgecolor="white", zorder=5)
    axes.set(xlabel="recall of relevant cells", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    finish(axes)
    for one, place in zip(named, spread([one.value / 1.02 for one in named], 0.062), strict=True):
        weight = "bold" if one.bold else "normal"
        text = axes.text(
            NAMED_AT, 1.02 * place, one.name, fontsize=LINE_PT + 0.5, color=one.color, weight=weight, zorder=6
        )
        text.set(
            parse_math=False, va="center", bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1}
        )


def _thinned(recall: Float[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
    """Points evenly spaced in recall, few enough that a dashed line stays dashed."""
    return np.unique(np.searchsorted(recall, np.linspace(0, 1, LINE_POINTS)).clip(0, max(len(recall) - 1, 0)))[
        : len(recall)
    ]


def _draw_calibration(axes: Axes, found: Calibration) -> None:
    score, frequency = _filled(found)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.0, linestyle=(0, (2, 2)))
    axes.vlines(score, np.minimum(score, frequency), np.maximum(score, frequency), colors="#9CC9E2", linewidth=4)
    axes.plot(score, frequency, color=BLUE, linewidth=2.2, marker="o", markersize=6, markeredgecolor="white")
    axes.text(0.03, 0.93, "above the dotted line: too shy", fontsize=SMALL_PT, color=FAINT)
    axes.text(0.97, 0.06, "below it: too sure", fontsize=SMALL_PT, color=FAINT, ha="right")
    axes.set(ylabel="share that is relevant", xlim=(0, 1), ylim=(0, 1.02))
    finish(axes)
    axes.tick_params(labelbottom=False)


def _draw_counts(axes: Axes, found: Calibration) -> None:
    bins = [one for one in found.bins if one.cells]
    low, wide = np.array([one.low for one in bins]), np.array([one.high - one.low for one in bins])
    count = np.array([one.cells for one in bins], dtype=np.int64)
    axes.bar(low + 0.1 * wide, count, width=0.8 * wide, align="edge", color="#8A8A8A")
    axes.set_yscale("log")
    axes.set(xlabel="score of a cell", xlim=(0, 1), ylim=(0.8, max(10.0, 2.0 * float(count.max(initial=1)))))
    axes.set_ylabel("cells", fontsize=LINE_PT, color=INK)
    finish(axes)


def _filled(found: Calibration) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Mean score and frequency of the bins that hold any cell."""
    bins = [one for one in found.bins if one.cells]
    return np.array([one.score for one in bins]), np.array([one.frequency for one in bins])
