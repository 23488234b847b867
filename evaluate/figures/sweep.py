"""The threshold sweep: precision, recall and F_0.25 by threshold, and precision against recall with the controls."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from ...pipeline.metrics.curves import SweepPoint
from ...pipeline.metrics.grounding import f_score, precision, recall
from .canvas import BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, VERMILION, mark_simulated, new_figure, save

LINES = ((BLUE, "-"), (VERMILION, "--"), (GREEN, "-."), (PURPLE, ":"), (ORANGE, (0, (5, 1, 1, 1, 1, 1))))


def draw_sweep(
    sweeps: Mapping[str, Sequence[SweepPoint]], path: Path, *, threshold: float, caption: str, simulated: bool
) -> Path:
    """Write a PNG with the head's curves by threshold (left) and every contender's precision and recall (right).

    Args:
        sweeps: the threshold sweep of every contender by display name; the first is the head.
        path: the PNG file.
        threshold: the head's decision threshold, marked in both plots.
        caption: split and run the numbers are of.
        simulated: stamp SIMULATED.
    """
    figure = new_figure(11.0, 5.2)
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.06, right=0.985, top=0.79, bottom=0.2, wspace=0.18)
    head = next(iter(sweeps.values()))
    _draw_by_threshold(left, head, threshold)
    _draw_precision_recall(right, sweeps, threshold)
    figure.text(0.015, 0.97, "Cell decisions by threshold", fontsize=14, weight="bold", va="top", color=INK)
    figure.text(0.015, 0.025, caption, fontsize=9, color=FAINT, va="bottom")
    if simulated:
        mark_simulated(figure, 0.97)
    return save(figure, path)


def _draw_by_threshold(axes: Axes, sweep: Sequence[SweepPoint], threshold: float) -> None:
    x = [point.threshold for point in sweep]
    for (color, line), name, value in zip(
        LINES, ("precision", "recall", "F 0.25"), (precision, recall, f_score), strict=False
    ):
        y = np.array([value(point.counts) for point in sweep])
        axes.plot(x, y, color=color, linestyle=line, linewidth=2.2, label=name)
    axes.axvline(threshold, color=INK, linewidth=1, linestyle=(0, (2, 2)))
    axes.text(threshold + 0.012, 0.02, f"used: {threshold:g}", fontsize=9, color=INK)
    axes.set(xlabel="decision threshold on sigmoid(a)", xlim=(0, 1), ylim=(0, 1.02))
    _finish(axes)


def _draw_precision_recall(axes: Axes, sweeps: Mapping[str, Sequence[SweepPoint]], threshold: float) -> None:
    for number, (name, sweep) in enumerate(sweeps.items()):
        color, line = LINES[number % len(LINES)]
        said = [point.counts for point in sweep if point.counts.tp + point.counts.fp]  # else precision is 0/0
        axes.plot(
            [recall(c) for c in said],
            [precision(c) for c in said],
            color=color,
            linestyle=line,
            linewidth=2.4 if number == 0 else 1.8,
            marker="o",
            markersize=3.5,
            label=name,
        )
    nearest = min(next(iter(sweeps.values())), key=lambda point: abs(point.threshold - threshold))
    axes.plot(
        recall(nearest.counts),
        precision(nearest.counts),
        marker="D",
        markersize=8,
        color=BLUE,
        markeredgecolor="white",
        label=f"head at {nearest.threshold:g}",
        linestyle="",
    )
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.grid(color="#DDDDDD", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        fontsize=9,
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=3,
        handlelength=3,
        borderaxespad=0,
    )
