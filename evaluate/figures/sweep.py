"""The threshold sweep: precision, recall and F_0.25 by threshold, and precision against recall with the controls."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from ...pipeline.metrics.curves import SweepPoint
from ...pipeline.metrics.grounding import Counts, f_score, precision, recall
from .canvas import FAINT, INK
from .lines import STYLES, Ending, finish, name_ends
from .sheet import BODY_IN, HEAD_PT, SMALL_PT, Sheet

CHART_IN, HEAD_IN, AXIS_IN, LEFT_IN, NAMES_IN = 3.4, 0.3, 0.45, 0.45, 1.3
SHARES: tuple[tuple[str, Callable[[Counts], float]], ...] = (
    ("precision", precision),
    ("recall", recall),
    ("F 0.25", f_score),
)


def draw_sweep(
    sweeps: Mapping[str, Sequence[SweepPoint]], path: Path, *, threshold: float, caption: str, simulated: bool
) -> Path:
    """Write a PNG with the head's shares by threshold (left) and every contender's F_0.25 by threshold (right).

    Args:
        sweeps: the threshold sweep of every contender by display name; the first is the head.
        path: the PNG file.
        threshold: the head's decision threshold, marked in both plots.
        caption: split and run the numbers are of.
        simulated: stamp SIMULATED.
    """
    sheet = Sheet("Cell decisions by threshold", caption, HEAD_IN + CHART_IN + AXIS_IN, simulated=simulated)
    width = (BODY_IN - 2 * (LEFT_IN + NAMES_IN)) / 2
    right = LEFT_IN + width + NAMES_IN + LEFT_IN
    name, head = next(iter(sweeps.items()))
    sheet.write(LEFT_IN, 0.0, name, size=HEAD_PT, weight="bold")
    sheet.write(right, 0.0, "F 0.25 of head and controls", size=HEAD_PT, weight="bold")
    shares = {what: [share(point.counts) for point in head] for what, share in SHARES}
    scores = {one: [f_score(point.counts) for point in sweep] for one, sweep in sweeps.items()}
    x = [point.threshold for point in head]
    _draw(sheet.axes(LEFT_IN, HEAD_IN, width, CHART_IN), x, shares, threshold, bold="F 0.25")
    _draw(sheet.axes(right, HEAD_IN, width, CHART_IN), x, scores, threshold, bold=name)
    return sheet.save(path)


def _draw(axes: Axes, x: Sequence[float], lines: Mapping[str, Sequence[float]], threshold: float, *, bold: str) -> None:
    axes.set(xlabel="decision threshold on sigmoid(a)", xlim=(0, 1), ylim=(0, 1.02))
    ends = []
    for (color, style), (name, y) in zip(STYLES * len(lines), lines.items(), strict=False):
        axes.plot(x, np.array(y), color=color, linestyle=style, linewidth=2.6 if name == bold else 2.0)
        ends.append(Ending(name, float(y[-1]), color, bold=name == bold))
    axes.axvline(threshold, color=INK, linewidth=1, linestyle=(0, (2, 2)))
    left = threshold > 0.5
    axes.text(
        threshold + (-0.015 if left else 0.015),
        0.02,
        f"used: {threshold:g}",
        ha="right" if left else "left",
        fontsize=SMALL_PT,
        color=FAINT,
    )
    finish(axes)
    name_ends(axes, ends)
