"""Line charts: styles that stay apart without colour, axes without ornament, names at the ends of the lines."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from .canvas import BLUE, GREEN, INK, ORANGE, PURPLE, VERMILION

STYLES = (
    (BLUE, "-"),
    (VERMILION, (0, (4, 1.5))),
    (GREEN, (0, (6, 1.5, 1.5, 1.5))),
    (PURPLE, (0, (1.5, 1.2))),
    (ORANGE, (0, (5, 1, 1, 1, 1, 1))),
)
LINE_PT = 9.0
LETTER, OFF_LINE = 0.0155, 0.045  # width of a name's letter; its distance from its line
ENOUGH = 0.06  # room that is enough


@dataclass(frozen=True)
class Ending:
    """Where a line ends and what it is called."""

    name: str
    value: float
    color: str
    bold: bool = False


def finish(axes: Axes) -> None:
    """A light grid, two spines, readable ticks."""
    axes.grid(color="#E3E3E3", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=LINE_PT, colors=INK, which="both")
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(fontsize=LINE_PT + 1, color=INK)


def name_ends(axes: Axes, ends: Sequence[Ending]) -> None:
    """Write each line's name right of the axes at the height where it ends, moved apart where they crowd."""
    axes.autoscale_view()
    height_pt = axes.get_window_extent().height / axes.figure.dpi * 72
    room = 1.3 * LINE_PT / height_pt
    to_axes = axes.transData + axes.transAxes.inverted()
    places = spread([float(to_axes.transform((0.0, end.value))[1]) for end in ends], room)
    for end, place in zip(ends, places, strict=True):
        text = axes.text(
            1.045,
            place,
            end.name,
            transform=axes.transAxes,
            va="center",
            fontsize=LINE_PT + (1 if end.bold else 0),
            weight="bold" if end.bold else "normal",
            color=end.color,
        )
        text.set_parse_math(False)


def name_lines(
    axes: Axes,
    x: Sequence[float],
    lines: Sequence[tuple[Ending, Sequence[float]]],
    *,
    marks: Sequence[tuple[float, float]] = (),
) -> None:
    """Write each line's name close to it, where there is room.

    Above or below the line where lines, marks and other names leave it most room; right of it where that is too little.

    Args:
        axes: where, with y from 0 to about 1.
        x: of every line's points.
        lines: name and colour of each, and its values.
        marks: places that stay free.
    """
    taken, drawn = list(marks), [values for _, values in lines]
    for end, values in lines:
        half = LETTER * len(end.name) / 2
        upright = [place for off in (OFF_LINE, -OFF_LINE) for place in _places(x, values, (0.0, off), half)]
        beside = _places(x, values, (half + 0.04, 0.0), half)
        best = max(upright, key=lambda place: _room(place, half, x, drawn, taken), default=(0.5, OFF_LINE))
        if _room(best, half, x, drawn, taken) < OFF_LINE / 2:
            best = max([best, *beside], key=lambda place: _room(place, half, x, drawn, taken))
        taken.append(best)
        size, weight = LINE_PT + (1 if end.bold else 0), "bold" if end.bold else "normal"
        text = axes.text(*best, end.name, ha="center", fontsize=size, weight=weight, color=end.color)
        text.set(parse_math=False, va="center", zorder=6, path_effects=[withStroke(linewidth=3, foreground="white")])


def _places(
    x: Sequence[float], values: Sequence[float], off: tuple[float, float], half: float
) -> list[tuple[float, float]]:
    """Where a name may stand, so far from each point of its line; within the axes, and not where the line is at 0."""
    found = [(left + off[0], value + off[1]) for left, value in zip(x, values, strict=True) if value > 0]
    return [place for place in found if half < place[0] < 1 - half and OFF_LINE < place[1] < 1]


def _room(
    place: tuple[float, float],
    half: float,
    x: Sequence[float],
    lines: Sequence[Sequence[float]],
    taken: Sequence[tuple[float, float]],
) -> float:
    """How far a name at a place is from what it must not touch, in y; enough is enough."""
    near = np.linspace(place[0] - half, place[0] + half, 101)
    lowest = [np.abs(np.interp(near, x, line) - place[1]).min() for line in lines]
    apart = [max(abs(place[1] - y), (abs(place[0] - left) - half) / 2) for left, y in taken]
    return float(min([*lowest, *apart, ENOUGH]))


def spread(places: Sequence[float], room: float) -> list[float]:
    """Places in [0, 1], moved as little as one pass can so that neighbours are at least ``room`` apart."""
    order = sorted(range(len(places)), key=lambda one: (places[one], one))
    result, least = [min(max(place, 0.0), 1.0) for place in places], 0.0
    for one in order:
        result[one] = max(result[one], least)
        least = result[one] + room
    most = 1.0
    for one in reversed(order):
        result[one] = min(result[one], most)
        most = result[one] - room
    return result
