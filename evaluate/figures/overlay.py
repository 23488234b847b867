"""Grounding overlays: frames with predictions side by side, as in the paper's figures 4 and 5."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from .canvas import FAINT, HEAT, INK, SKY, mark_simulated, new_figure, save
from .panel import HALO, Panel, draw_panel

PANEL_WIDTH_IN, SIDE_IN, TOP_IN, BOTTOM_IN, GAP_IN = 6.0, 0.25, 1.0, 1.1, 0.3
BAR_IN, CAPTION_CHARACTER_IN = 0.75, 0.066


def draw_overlay(panels: Sequence[Panel], path: Path, *, title: str, caption: str, simulated: bool) -> Path:
    """Write a PNG of all panels in one row under one title.

    Args:
        panels: the frames and predictions, left to right; frames of one size.
        path: the PNG file.
        title: what was asked, such as the instruction in quotation marks.
        caption: where the frames come from and by which rule they were chosen.
        simulated: stamp SIMULATED.

    Returns:
        The path, for a figure ``150 * (0.5 + 6.3 n + 0.45)`` pixels wide with n panels.
    """
    height, width = panels[0].frame.shape[:2]
    panel_height = PANEL_WIDTH_IN * height / width
    total_width = 2 * SIDE_IN + len(panels) * PANEL_WIDTH_IN + (len(panels) - 1) * GAP_IN + BAR_IN
    total_height = TOP_IN + panel_height + BOTTOM_IN
    figure = new_figure(total_width, total_height)
    heat = None
    for number, panel in enumerate(panels):
        left = SIDE_IN + number * (PANEL_WIDTH_IN + GAP_IN)
        box = (left / total_width, BOTTOM_IN / total_height, PANEL_WIDTH_IN / total_width, panel_height / total_height)
        heat = draw_panel(figure.add_axes(box), panel)
    assert heat is not None
    _draw_bar(figure, heat, panel_height, panels[0].threshold)
    _draw_words(figure, title, caption)
    if simulated:
        mark_simulated(figure, 1 - 0.16 / total_height)
    return save(figure, path)


def _draw_bar(figure: Figure, heat: AxesImage, panel_height: float, threshold: float) -> None:
    width, height = figure.get_size_inches()
    left = (width - SIDE_IN - BAR_IN + 0.22) / width
    axes = figure.add_axes((left, BOTTOM_IN / height, 0.15 / width, 0.55 * panel_height / height))
    bar = figure.colorbar(heat, cax=axes, ticks=sorted({0.0, threshold, 1.0}))
    bar.ax.set_title("cell\nscore", fontsize=9, color=INK, loc="left")
    bar.ax.tick_params(labelsize=9, colors=INK)
    bar.ax.axhline(threshold, color=INK, linewidth=1.2)


def _draw_words(figure: Figure, title: str, caption: str) -> None:
    width, height = figure.get_size_inches()
    left = SIDE_IN / width
    size = 15 if width > 10 else 11.5  # beside the SIMULATED mark
    figure.text(left, 1 - 0.17 / height, title, ha="left", va="top", fontsize=size, weight="bold", color=INK)
    wrapped = textwrap.fill(caption, int((width - 2 * SIDE_IN) / CAPTION_CHARACTER_IN))
    figure.text(left, 0.12 / height, wrapped, ha="left", va="bottom", fontsize=9, color=FAINT, linespacing=1.35)
    figure.legend(
        handles=_legend(),
        loc="upper left",
        bbox_to_anchor=(left, (BOTTOM_IN - 0.12) / height),
        borderaxespad=0,
        ncols=4,
        frameon=False,
        fontsize=10,
        handlelength=1.6,
        columnspacing=1.6,
        borderpad=0,
    )


def _legend() -> list[Patch | Line2D]:
    cell = Rectangle((0, 0), 1, 1, facecolor=HEAT(0.9), edgecolor="none", label="coarse cell, by score")
    region = Line2D([], [], color="white", linewidth=1.6, path_effects=HALO, label="true region")
    box = Rectangle((0, 0), 1, 1, fill=False, edgecolor=SKY, linewidth=2, path_effects=HALO, label="refined sub-cell")
    point = Line2D([], [], color=SKY, marker="x", markersize=8, markeredgewidth=2.2, linestyle="", path_effects=HALO)
    point.set_label("predicted point")
    return [cell, region, box, point]
