"""The threshold sweep: precision, recall and F_0.25 of the head by threshold, and F_0.25 of head and controls.

A colour is a contender's and a line's dashes are a metric's, in both charts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ...pipeline.metrics.curves import SweepPoint
from ...pipeline.metrics.grounding import Counts, f_score, precision, recall
from .lines import STYLES, Ending, finish, name_lines
from .sheet import BODY_IN, HEAD_PT, Sheet

CHART_IN, HEAD_IN, AXIS_IN, LEFT_IN, BETWEEN_IN = 3.7, 0.3, 0.45, 0.45, 0.25
SHARES: tuple[tuple[str, Callable[[Counts], float], Any], ...] = (
    ("F 0.25", f_score, "-"),
    ("precision", precision, (0, (5, 1.5))),
    ("recall", recall, (0, (1.5, 1.2))),
)
"""Name, metric and dashes."""


@dataclass(frozen=True)
class Line:
    """One metric of one contender by threshold.

    Args:
        name: as it is written at the line.
        values: at each threshold.
        color: the contender's.
        dashes: the metric's.
        bold: of the head, or its headline.
        used: the contender's own threshold and the value there.
    """

    name: str
    values: Sequence[float]
    color: str
    dashes: Any
    bold: bool
    used: tuple[float, float]


def draw_sweep(
    sweeps: Mapping[str, Sequence[SweepPoint]],
    path: Path,
    *,
    used: Mapping[str, tuple[float, Counts]],
    caption: str,
    simulated: bool,
) -> Path:
    """Write a PNG with the head's shares by threshold (left) and every contender's F_0.25 by threshold (right).

    Args:
        sweeps: the threshold sweep of every contender by display name; the first is the head.
        path: the PNG file.
        used: each contender's own decision threshold and its counts there, marked on its own lines.
        caption: split and run the numbers are of.
        simulated: stamp SIMULATED.
    """
    sheet = Sheet("Cell decisions by threshold", caption, HEAD_IN + CHART_IN + AXIS_IN, simulated=simulated)
    width = (BODY_IN - 2 * LEFT_IN - BETWEEN_IN) / 2
    right = 2 * LEFT_IN + width + BETWEEN_IN
    first, head = next(iter(sweeps.items()))
    sheet.write(LEFT_IN, 0.0, f"{first}: F 0.25, precision and recall", size=HEAD_PT, weight="bold")
    sheet.write(right, 0.0, "F 0.25 of head and controls", size=HEAD_PT, weight="bold")
    shares = [
        _line(what, share, head, used[first], (STYLES[0][0], dashes), bold=number == 0)
        for number, (what, share, dashes) in enumerate(SHARES)
    ]
    scores = [
        _line(name, f_score, sweep, used[name], (color, SHARES[0][2]), bold=name == first)
        for (name, sweep), (color, _) in zip(sweeps.items(), STYLES * len(sweeps), strict=False)
    ]
    x = [point.threshold for point in head]
    _draw(sheet.axes(LEFT_IN, HEAD_IN, width, CHART_IN), x, shares)
    _draw(sheet.axes(right, HEAD_IN, width, CHART_IN), x, scores)
    return sheet.save(path)


def _line(
    name: str,
    share: Callable[[Counts], float],
    sweep: Sequence[SweepPoint],
    used: tuple[float, Counts],
    style: tuple[str, Any],
    *,
    bold: bool,
) -> Line:
    values = [share(point.counts) for point in sweep]
    return Line(name, values, *style, bold, (used[0], share(used[1])))


def _draw(axes: Axes, x: Sequence[float], lines: Sequence[Line]) -> None:
    axes.set(xlabel="decision threshold on sigmoid(a)", xlim=(0, 1), ylim=(0, 1.02))
    for line in reversed(lines):
        width = 2.8 if line.bold else 2.0
        axes.plot(x, np.array(line.values), color=line.color, linestyle=line.dashes, linewidth=width)
        axes.plot(*line.used, marker="D", markersize=7, color=line.color, markeredgecolor="white", zorder=5)
    finish(axes)
    named = [(Ending(one.name, one.used[1], one.color, one.bold), one.values) for one in lines]
    name_lines(axes, x, named, marks=[one.used for one in lines])
