"""Line charts: styles that stay apart without colour, axes without ornament, names at the ends of the lines."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from .canvas import BLUE, GREEN, INK, ORANGE, PURPLE, VERMILION

STYLES = (
    (BLUE, "-"),
    (VERMILION, (0, (4, 1.5))),
    (GREEN, (0, (6, 1.5, 1.5, 1.5))),
    (PURPLE, (0, (1.5, 1.2))),
    (ORANGE, (0, (5, 1, 1, 1, 1, 1))),
)
LINE_PT = 9.0
NAME_HALF, OFF_LINE, ENOUGH = 0.13, 0.045, 0.06  # half a name's width; a name's distance from its line


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
    """Write each line's name just above or below it, where most room is left by all lines, marks and other names.

    Args:
        axes: where, with y from 0 to about 1.
        x: of every line's points.
        lines: name and colour of each, and its values.
        marks: places that stay free.
    """
    taken = list(marks)
    for end, values in lines:
        places = [
            (x[at], values[at] + side)
            for at in range(len(x))
            for side in (OFF_LINE, -OFF_LINE)
            if NAME_HALF < x[at] < 1 - NAME_HALF and OFF_LINE < values[at] + side < 1 and values[at] > 0
        ]
        if not places:
            places = [(0.5, values[len(values) // 2] + OFF_LINE)]
        best = max(places, key=lambda place: _room(place, x, [other for _, other in lines], taken))
        taken.append(best)
        size, weight = LINE_PT + (1 if end.bold else 0), "bold" if end.bold else "normal"
        text = axes.text(*best, end.name, ha="center", fontsize=size, weight=weight, color=end.color)
        text.set(parse_math=False, va="center", zorder=6)


def _room(
    place: tuple[float, float],
    x: Sequence[float],
    lines: Sequence[Sequence[float]],
    taken: Sequence[tuple[float, float]],
) -> float:
    """How far a name at a place is from what it must not touch, in y; enough is enough."""
    near = np.linspace(place[0] - NAME_HALF, place[0] + NAME_HALF, 9)
    lowest = [np.abs(np.interp(near, x, line) - place[1]).min() for line in lines]
    apart = [max(abs(place[1] - y), (abs(place[0] - left) - NAME_HALF) / 2) for left, y in taken]
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
