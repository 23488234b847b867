"""Precision against recall, and calibration: how often cells of a score are relevant."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes

from .canvas import BLUE, FAINT, INK
from .lines import LINE_PT, STYLES, Ending, finish, spread
from .missing import NoFigure
from .sheet import BODY_IN, HEAD_PT, SMALL_PT, Sheet

CHART_IN, HEAD_IN, AXIS_IN, LEFT_IN, BETWEEN_IN, COUNT_IN = 3.7, 0.3, 0.45, 0.55, 0.25, 0.75
NAMED_AT, NAMED_OVER = 0.1, np.linspace(0.1, 0.45, 8)  # recall where a curve bears its name, which must be free
LINE_POINTS = 150  # drawn of a curve


@dataclass(frozen=True)
class PrecisionRecall:
    """One contender's curve, from its strictest to its most lenient threshold, (n,) each.

    ``average_precision`` is its area, ``operating`` the (recall, precision) at its threshold; None to mark none.
    """

    recall: Float[np.ndarray, " n"]
    precision: Float[np.ndarray, " n"]
    average_precision: float
    operating: tuple[float, float] | None = None


@dataclass(frozen=True)
class Calibration:
    """Cells grouped by their score, k groups.

    Args:
        score: the mean score of each group.
        frequency: the share of its cells that are relevant.
        count: its cells.
        error: the expected calibration error, Σ count |score - frequency| / Σ count.
    """

    score: Float[np.ndarray, " k"]
    frequency: Float[np.ndarray, " k"]
    count: Int[np.ndarray, " k"]
    error: float


def draw_curves(
    curves: Mapping[str, PrecisionRecall],
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
    sheet.write(right, 0.0, f"calibration of the head: error {calibration.error:.3f}", size=HEAD_PT, weight="bold")
    _draw_precision(sheet.axes(LEFT_IN, HEAD_IN, width, CHART_IN), curves)
    upper = CHART_IN - COUNT_IN - 0.12
    _draw_calibration(sheet.axes(right, HEAD_IN, width, upper), calibration)
    _draw_counts(sheet.axes(right, HEAD_IN + upper + 0.12, width, COUNT_IN), calibration)
    return sheet.save(path)


def _draw_precision(axes: Axes, curves: Mapping[str, PrecisionRecall]) -> None:
    named = []
    for number, (name, curve) in enumerate(curves.items()):
        color, line = STYLES[number % len(STYLES)]
        shown = _thinned(curve.recall)
        axes.plot(
            curve.recall[shown],
            curve.precision[shown],
            color=color,
            linestyle=line,
            linewidth=2.6 if number == 0 else 1.8,
            zorder=4 if number == 0 else 3,
        )
        if len(curve.recall):
            height = float(np.interp(NAMED_OVER, curve.recall, curve.precision).min())
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
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.0, linestyle=(0, (2, 2)))
    axes.vlines(
        found.score,
        np.minimum(found.score, found.frequency),
        np.maximum(found.score, found.frequency),
        colors="#9CC9E2",
        linewidth=4,
    )
    axes.plot(
        found.score, found.frequency, color=BLUE, linewidth=2.2, marker="o", markersize=6, markeredgecolor="white"
    )
    axes.text(0.03, 0.93, "above the dotted line: too shy", fontsize=SMALL_PT, color=FAINT)
    axes.text(0.97, 0.06, "below it: too sure", fontsize=SMALL_PT, color=FAINT, ha="right")
    axes.set(ylabel="share that is relevant", xlim=(0, 1), ylim=(0, 1.02))
    finish(axes)
    axes.tick_params(labelbottom=False)


def _draw_counts(axes: Axes, found: Calibration) -> None:
    width = 0.8 / max(len(found.score), 1)
    axes.bar(found.score, found.count, width=min(width, 0.08), color="#8A8A8A")
    axes.set_yscale("log")
    axes.set(xlabel="score of a cell", xlim=(0, 1), ylim=(0.8, max(10.0, 2.0 * float(found.count.max(initial=1)))))
    axes.set_ylabel("cells", fontsize=LINE_PT, color=INK)
    finish(axes)


def precision_recall(
    scores: Float[np.ndarray, "*shape"], relevant: Bool[np.ndarray, "*shape"], *, threshold: float | None = None
) -> PrecisionRecall:
    """The curve over every distinct score, equal scores together; empty where nothing is relevant.

    Args:
        scores: of every cell, in [0, 1].
        relevant: which cells are.
        threshold: cells are called relevant from this score on; marks that place.
    """
    values, truth = np.asarray(scores, dtype=np.float64).ravel(), np.asarray(relevant, dtype=bool).ravel()
    order = np.argsort(-values, kind="stable")
    last = np.flatnonzero(np.diff(values[order], append=-np.inf))
    hits, said, positives = np.cumsum(truth[order])[last], last + 1, int(truth.sum())
    if not positives:
        return PrecisionRecall(np.empty(0), np.empty(0), float("nan"))
    recall, precision = hits / positives, hits / said
    area = float((np.diff(recall, prepend=0.0) * precision).sum())
    used = 0 if threshold is None else int((values >= threshold).sum())
    at = int(np.searchsorted(said, used)) if used else None
    return PrecisionRecall(recall, precision, area, None if at is None else (float(recall[at]), float(precision[at])))


def calibrate(
    scores: Float[np.ndarray, "*shape"], relevant: Bool[np.ndarray, "*shape"], groups: int = 10
) -> Calibration:
    """Cells in ``groups`` equal steps of score; groups without a cell are left out."""
    values, truth = np.asarray(scores, dtype=np.float64).ravel(), np.asarray(relevant, dtype=bool).ravel()
    number = np.clip((values * groups).astype(int), 0, groups - 1)
    count = np.bincount(number, minlength=groups)
    kept = count > 0
    score = np.bincount(number, values, groups)[kept] / count[kept]
    frequency = np.bincount(number, truth, groups)[kept] / count[kept]
    error = float((count[kept] * np.abs(score - frequency)).sum() / max(values.size, 1))
    return Calibration(score, frequency, count[kept], error)
