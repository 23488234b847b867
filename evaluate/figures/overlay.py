"""Grounding overlays: frames with predictions side by side, as in the paper's figures 4 and 5."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from .canvas import FAINT, INK, SKY
from .missing import NoFigure
from .panel import HALO, Panel, draw_panel
from .sheet import BODY_IN, HEAD_PT, SMALL_PT, Sheet, fitting
from .words import height_of, legible, width_of, wrap

PANEL_GAP_IN, UNDER_IN, KEY_IN, WIDEST_IN = 0.2, 0.1, 0.34, 6.2


def draw_overlay(panels: Sequence[Panel], path: Path, *, title: str, caption: str, simulated: bool) -> Path:
    """Write a PNG of all panels in one row under one title, ten inches wide.

    Args:
        panels: the frames and predictions, left to right; frames of one size.
        path: the PNG file.
        title: what was asked, such as the instruction in quotation marks.
        caption: where the frames come from and by which rule they were chosen.
        simulated: stamp SIMULATED.

    Raises:
        NoFigure: there is no panel.
    """
    if not panels:
        raise NoFigure(path.stem, "there is no frame to show")
    width = panel_width(len(panels))
    heads = [_heading(panel, width) for panel in panels]
    head = max(height_of(text, HEAD_PT) for text in heads)
    height = width * panels[0].frame.shape[0] / panels[0].frame.shape[1]
    alone = len(panels) == 1  # a frame alone leaves room for its key on the right
    below = 0.0 if alone else UNDER_IN + KEY_IN
    sheet = Sheet(title, caption, head + UNDER_IN + height + below, simulated=simulated)
    for number, panel in enumerate(panels):
        left = number * (width + PANEL_GAP_IN)
        heat = draw_panel(sheet.axes(left, head + UNDER_IN, width, height), panel)
        sheet.write(left, head - height_of(heads[number], HEAD_PT), heads[number], size=HEAD_PT)
        size = fitting(panel.verdict, width, weight="bold")
        sheet.write(left + width, head - height_of("x", size), panel.verdict, size=size, weight="bold", align="right")
    if alone:
        draw_key_beside(sheet, heat, panels[0], width + 0.35, head + UNDER_IN)
    else:
        draw_key(sheet, heat, panels[0].threshold, head + height + 2 * UNDER_IN + 0.05)
    return sheet.save(path)


def panel_width(count: int) -> float:
    """The width of each of so many panels in a row, in inches."""
    return min(WIDEST_IN, (BODY_IN - (count - 1) * PANEL_GAP_IN) / count)


def draw_key(sheet: Sheet, heat: AxesImage, threshold: float, top: float) -> None:
    """One line that says what everything on a panel means: score scale, true region, sub-cell, point."""
    sheet.write(0.0, top + 0.03, "cell score", size=SMALL_PT)
    _scale(sheet, heat, threshold, 0.85, top)
    for left, (name, draw) in zip((3.2, 5.1, 7.3), MARKS.items(), strict=True):
        _mark(sheet, left, top, name, draw)


def draw_key_beside(sheet: Sheet, heat: AxesImage, panel: Panel, left: float, top: float) -> None:
    """The same one below the other, without the true region where it is unknown."""
    sheet.write(left, top + 0.03, "cell score", size=SMALL_PT)
    _scale(sheet, heat, panel.threshold, left + 0.12, top + 0.3)
    known = panel.region is not None or panel.true_point is not None
    marks = [(name, draw) for name, draw in MARKS.items() if known or draw is not _region]
    for number, (name, draw) in enumerate(marks):
        _mark(sheet, left, top + 0.95 + 0.38 * number, name, draw)


def _scale(sheet: Sheet, heat: AxesImage, threshold: float, left: float, top: float) -> None:
    bar = sheet.axes(left, top + 0.03, 1.5, 0.14)
    sheet.figure.colorbar(heat, cax=bar, orientation="horizontal", ticks=[])
    bar.axvline(threshold, color=INK, linewidth=1.4)
    sheet.write(left - 0.07, top + 0.03, "0", size=SMALL_PT, align="right")
    sheet.write(left + 1.55, top + 0.03, "1", size=SMALL_PT)
    middle = left + 1.5 * threshold
    sheet.write(middle, top + 0.19, f"positive from {threshold:g}", size=SMALL_PT, color=FAINT, align="center")


def _mark(sheet: Sheet, left: float, top: float, name: str, draw: Callable[[Axes], None]) -> None:
    key = sheet.axes(left, top, 0.3, 0.22)
    key.set(xlim=(0, 1), ylim=(0, 1))
    key.set_axis_off()
    draw(key)
    sheet.write(left + 0.38, top + 0.03, name, size=SMALL_PT)


def _heading(panel: Panel, width: float) -> str:
    room = width - 0.08 - _verdict_room(panel)
    *asked, place = panel.heading.split("\n")
    lines = [wrap(legible(line), width, HEAD_PT, lines=3) for line in asked]
    return "\n".join([*lines, wrap(legible(place), room, HEAD_PT, lines=2)])


def _verdict_room(panel: Panel) -> float:
    return width_of(panel.verdict, HEAD_PT, "bold")


def _region(axes: Axes) -> None:
    axes.add_line(Line2D([0.05, 0.95], [0.5, 0.5], color="white", linewidth=1.8, path_effects=HALO))


def _box(axes: Axes) -> None:
    axes.add_patch(
        Rectangle((0.12, 0.06), 0.76, 0.88, fill=False, edgecolor=SKY, linewidth=2, path_effects=HALO, clip_on=False)
    )


def _point(axes: Axes) -> None:
    axes.plot(0.5, 0.5, color=SKY, marker="x", markersize=8, markeredgewidth=2.2, path_effects=HALO)


MARKS: dict[str, Callable[[Axes], None]] = {
    "true region": _region,
    "refined sub-cell": _box,
    "predicted point": _point,
}
