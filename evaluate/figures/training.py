"""Training curves from a run's log: the loss while training, and the validation metric of head and controls."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from .canvas import FAINT, INK
from .lines import STYLES, Ending, finish, name_ends
from .missing import NoFigure
from .sheet import BODY_IN, HEAD_PT, SMALL_PT, TEXT_PT, Sheet

CHART_IN, HEAD_IN, AXIS_IN, LEFT_IN, NAMES_IN, BETWEEN_IN = 3.2, 0.52, 0.45, 0.55, 1.25, 0.1


@dataclass(frozen=True)
class Curve:
    """One number over the steps of a run, (n,) each; a run of one step has a curve of one point."""

    steps: Float[np.ndarray, " n"]
    values: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class TrainingCurves:
    """What a log says.

    Args:
        losses: training loss by contender.
        metric: the validation metric's name.
        metrics: its values on the validation split, by contender; the head first.
        best: the step of the head's best checkpoint and its value.
    """

    losses: Mapping[str, Curve]
    metric: str
    metrics: Mapping[str, Curve]
    best: tuple[int, float] | None


def training_curves(log: Sequence[Mapping[str, Any]], metric: str, *, higher_is_better: bool) -> TrainingCurves:
    """The curves of one run.

    Args:
        log: the lines of ``metrics.jsonl``; lines without a number are left out.
        metric: the one that chooses the best checkpoint.
        higher_is_better: which way; of equals the first is the best.

    Raises:
        NoFigure: the log holds neither a loss nor that metric.
    """
    losses = _curves(log, "train", "loss")
    metrics = _curves(log, "validation", metric, split="val")
    if not losses and not metrics:
        raise NoFigure(
            "training",
            "the run's log holds no curve",
            found=f"{len(log)} lines",
            expected=f"training losses, or {metric} of a validation",
            remedy="train with log_freq and eval_freq below the number of steps",
        )
    best = None
    if "head" in metrics:
        head = metrics["head"]
        at = int(np.argmax(head.values if higher_is_better else -head.values))
        best = int(head.steps[at]), float(head.values[at])
    return TrainingCurves(losses, metric, metrics, best)


def draw_training(curves: TrainingCurves, path: Path, *, title: str, caption: str, simulated: bool) -> Path:
    """Write a PNG: loss on the left, validation metric on the right, the best step marked.

    Args:
        curves: what to draw.
        path: the PNG file.
        title: of which run.
        caption: where it comes from.
        simulated: stamp SIMULATED.
    """
    sheet = Sheet(title, caption, HEAD_IN + CHART_IN + AXIS_IN, simulated=simulated)
    width = (BODY_IN - 2 * (LEFT_IN + NAMES_IN) - BETWEEN_IN) / 2
    right = LEFT_IN + width + NAMES_IN + BETWEEN_IN
    sheet.write(LEFT_IN, 0.0, "training loss", size=HEAD_PT, weight="bold")
    sheet.write(right + LEFT_IN, 0.0, f"validation: {_told(curves.metric)}", size=HEAD_PT, weight="bold")
    loss = sheet.axes(LEFT_IN, HEAD_IN, width, CHART_IN)
    _draw(loss, curves.losses, list(curves.metrics) or list(curves.losses), log=True)
    metric = sheet.axes(right + LEFT_IN, HEAD_IN, width, CHART_IN)
    _draw(metric, curves.metrics, list(curves.metrics), log=False)
    if curves.best is not None:
        step, value = curves.best
        _mark(metric, step, value)
        sheet.write(right + LEFT_IN, 0.22, f"\N{WHITE DIAMOND} best: {value:.3g} at step {step}", size=TEXT_PT)
    return sheet.save(path)


def _curves(log: Sequence[Mapping[str, Any]], kind: str, key: str, *, split: str | None = None) -> dict[str, Curve]:
    found: dict[str, dict[int, float]] = {}
    for line in log:
        value = line.get(key)
        if line.get("kind") == kind and line.get("split") == split and isinstance(value, int | float):
            found.setdefault(str(line["contender"]), {})[int(line["step"])] = float(value)
    named = sorted(found, key=lambda name: name != "head")
    return {
        name: Curve(np.array(sorted(found[name])), np.array([found[name][step] for step in sorted(found[name])]))
        for name in named
    }


def _draw(axes: Axes, curves: Mapping[str, Curve], names: Sequence[str], *, log: bool) -> None:
    if not curves:
        axes.text(0.5, 0.5, "nothing was logged", ha="center", transform=axes.transAxes, fontsize=SMALL_PT, color=FAINT)
        axes.set_axis_off()
        return
    order = [*names, *(name for name in curves if name not in names)]
    ends = []
    for name, curve in curves.items():
        color, line = STYLES[order.index(name) % len(STYLES)]
        marker = "o" if len(curve.steps) < 40 else ""
        width = 2.4 if name == "head" else 1.8
        axes.plot(
            curve.steps, curve.values, color=color, linestyle=line, linewidth=width, marker=marker, markersize=3.5
        )
        ends.append(Ending(_told(name), float(curve.values[-1]), color, bold=name == "head"))
    if log and all((curve.values > 0).all() for curve in curves.values()) and _decades(curves) > 1:
        axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.margins(x=0.0)
    axes.set_xlim(left=0)
    finish(axes)
    name_ends(axes, ends)


def _mark(axes: Axes, step: int, value: float) -> None:
    axes.plot(
        step,
        value,
        marker="D",
        markersize=9,
        color="white",
        markeredgecolor=INK,
        markeredgewidth=1.8,
        zorder=5,
        clip_on=False,
    )


def _decades(curves: Mapping[str, Curve]) -> float:
    values = np.concatenate([curve.values for curve in curves.values()])
    return math.log10(float(values.max()) / float(values.min()))


def _told(name: str) -> str:
    return {"f_0_25": "F 0.25", "mse": "MSE (lower is better)"}.get(name, name.replace("_", " "))
