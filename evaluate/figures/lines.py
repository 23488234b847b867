"""Line charts: styles that stay apart without colour, axes without ornament, names at the ends of the lines."""

from collections.abc import Sequence
from dataclasses import dataclass

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


def name_lines(axes: Axes, x: Sequence[float], lines: Sequence[tuple[Ending, Sequence[float]]]) -> None:
    """Write each line's name on it, at the x where it is farthest from the other lines and from other names.

    Args:
        axes: where; their limits are set.
        x: of every line's points.
        lines: name and colour of each, and its values.
    """
    taken: list[tuple[float, float]] = []
    inner = [at for at, one in enumerate(x) if 0.1 <= one <= 0.8] or list(range(len(x)))
    for number, (end, values) in enumerate(lines):
        others = [other for at, (_, other) in enumerate(lines) if at != number]

        def room(at: int, values: Sequence[float] = values, others: list[Sequence[float]] = others) -> float:
            apart = [abs(values[at] - other[at]) for other in others]
            names = [max(abs(values[at] - y), abs(x[at] - left) / 3) for left, y in taken]
            return min([*apart, *names], default=1.0)

        at = max(inner, key=room)
        taken.append((x[at], values[at]))
        size, weight = LINE_PT + (1 if end.bold else 0), "bold" if end.bold else "normal"
        text = axes.text(x[at], values[at], end.name, ha="center", fontsize=size, weight=weight, color=end.color)
        text.set(parse_math=False, va="center", zorder=6)
        text.set_bbox({"facecolor": "white", "alpha": 0.9, "edgecolor": "none", "pad": 1})


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
