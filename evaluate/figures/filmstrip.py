"""A filmstrip: frames through one episode above the score of what is to be taken and of where it is to go."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from .canvas import BLUE, FAINT, INK, VERMILION
from .missing import NoFigure
from .panel import Panel, draw_panel
from .sheet import BODY_IN, SMALL_PT, TEXT_PT, Sheet
from .words import legible, width_of

FRAME_GAP_IN, HEAD_IN, LINK_IN, CHART_IN, LEFT_IN, RIGHT_IN, AXIS_IN = 0.1, 0.22, 0.35, 2.3, 0.55, 1.55, 0.45


@dataclass(frozen=True)
class Filmstrip:
    """One execution of one instruction, seen by one camera; n labelled moments.

    Args:
        frame: the frame number of each moment, (n,), rising.
        source_score: the highest cell score on what is to be taken, where the labels last saw it, (n,).
        target_score: likewise on where it is to go.
        source: its name.
        target: its name.
        grasp: the first moment at which the target is relevant, a number of a moment.
        shown: moments whose frames are shown, rising.
        panels: those frames with the head's answers.
        threshold: a cell is called positive from this score on.
    """

    frame: Float[np.ndarray, " n"]
    source_score: Float[np.ndarray, " n"]
    target_score: Float[np.ndarray, " n"]
    source: str
    target: str
    grasp: int
    shown: tuple[int, ...]
    panels: tuple[Panel, ...]
    threshold: float = 0.5


def draw_filmstrip(film: Filmstrip, path: Path, *, title: str, caption: str, simulated: bool) -> Path:
    """Write a PNG: frames in a row, each tied to its moment on the chart below, the grasp marked.

    Args:
        film: the execution.
        path: the PNG file.
        title: what was asked.
        caption: where it is from and by which rule it was chosen.
        simulated: stamp SIMULATED.

    Raises:
        NoFigure: no frame is to be shown.
    """
    if not film.panels:
        raise NoFigure(path.stem, "there is no frame to show")
    count = len(film.panels)
    width = (BODY_IN - (count - 1) * FRAME_GAP_IN) / count
    height = width * film.panels[0].frame.shape[0] / film.panels[0].frame.shape[1]
    chart_top = HEAD_IN + height + LINK_IN
    sheet = Sheet(title, caption, chart_top + CHART_IN + AXIS_IN, simulated=simulated)
    chart = sheet.axes(LEFT_IN, chart_top, BODY_IN - LEFT_IN - RIGHT_IN, CHART_IN)
    for number, (moment, panel) in enumerate(zip(film.shown, film.panels, strict=True)):
        left = number * (width + FRAME_GAP_IN)
        draw_panel(sheet.axes(left, HEAD_IN, width, height), panel, small=True)
        sheet.write(left, 0.0, f"frame {film.frame[moment]:g}", size=TEXT_PT, weight="bold")
        phase = legible(panel.heading, 24)
        sheet.write(left + width, 0.0, phase, size=SMALL_PT, color=FAINT, align="right")
        _tie(sheet, chart, film, moment, (left + width / 2, HEAD_IN + height))
    _draw_chart(chart, film)
    _name_lines(sheet, film, chart_top)
    return sheet.save(path)


def _tie(sheet: Sheet, chart: Axes, film: Filmstrip, moment: int, below: tuple[float, float]) -> None:
    """A thin line from a frame down to its moment."""
    x, y = below
    low, high = _span(film)
    wide = BODY_IN - LEFT_IN - RIGHT_IN
    at = LEFT_IN + wide * (float(film.frame[moment]) - low) / (high - low)
    link = sheet.axes(0.0, y, BODY_IN, LINK_IN)
    link.set(xlim=(0, BODY_IN), ylim=(LINK_IN, 0))
    link.set_axis_off()
    link.plot([x, x, at, at], [0.02, 0.08, LINK_IN - 0.06, LINK_IN], color="#9A9A9A", linewidth=1.0)
    chart.axvline(film.frame[moment], color="#D0D0D0", linewidth=1.0, zorder=0)


def _draw_chart(axes: Axes, film: Filmstrip) -> None:
    axes.plot(film.frame, film.source_score, color=BLUE, linewidth=2.4, solid_capstyle="round")
    axes.plot(film.frame, film.target_score, color=VERMILION, linewidth=2.4, linestyle=(0, (4, 1.5)))
    axes.axhline(film.threshold, color=FAINT, linewidth=0.9, linestyle=(0, (2, 2)))
    grasp = float(film.frame[film.grasp])
    axes.axvline(grasp, color=INK, linewidth=1.8)
    low, high = _span(film)
    right = grasp < (low + high) / 2
    axes.annotate(
        "grasped",
        (grasp, 1.22),
        xytext=(5 if right else -5, 0),
        textcoords="offset points",
        ha="left" if right else "right",
        va="top",
        fontsize=TEXT_PT,
        weight="bold",
        color=INK,
    )
    axes.set(xlim=(low, high), ylim=(-0.02, 1.24), yticks=[0, 0.5, 1], xlabel="frame of the episode")
    axes.set_ylabel("highest cell score", fontsize=TEXT_PT, color=INK)
    axes.xaxis.label.set(fontsize=TEXT_PT, color=INK)
    axes.tick_params(labelsize=SMALL_PT, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)


def _name_lines(sheet: Sheet, film: Filmstrip, top: float) -> None:
    """Each line's name at its right end, moved apart where the lines end together."""
    left = BODY_IN - RIGHT_IN + 0.1
    ends = [
        (float(film.source_score[-1]), film.source, "to be taken", BLUE),
        (float(film.target_score[-1]), film.target, "where it goes", VERMILION),
    ]
    places = _apart([top + CHART_IN * (1.24 - score) / 1.26 - 0.1 for score, *_ in ends], 0.42, top + CHART_IN - 0.4)
    for (_, name, role, color), place in zip(ends, places, strict=True):
        shown = legible(name, 18)
        size = TEXT_PT if width_of(shown, TEXT_PT, "bold") < RIGHT_IN - 0.1 else SMALL_PT
        sheet.write(left, place, shown, size=size, color=color, weight="bold")
        sheet.write(left, place + 0.17, role, size=SMALL_PT, color=color)


def _apart(places: Sequence[float], room: float, lowest: float) -> list[float]:
    """Two places at least ``room`` apart, none below ``lowest``, in their own order."""
    order = sorted(range(len(places)), key=lambda one: places[one])
    result, limit = list(places), lowest
    for one in reversed(order):
        result[one] = min(result[one], limit)
        limit = result[one] - room
    return result


def _span(film: Filmstrip) -> tuple[float, float]:
    low, high = float(film.frame[0]), float(film.frame[-1])
    return (low, high) if high > low else (low - 0.5, high + 0.5)
