"""Dense maps channel by channel: the teacher's, the predicted ones and their difference; corners over the frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.image import AxesImage

from .canvas import BLUE, FAINT, INK, ORANGE, SKY
from .missing import NoFigure
from .panel import HALO
from .sheet import BODY_IN, HEAD_PT, SMALL_PT, TEXT_PT, Sheet
from .words import wrap

FRAME_IN, SIDE_IN, GAP_IN, BAR_IN, HEAD_IN = 3.05, 0.62, 0.08, 0.62, 0.3
PANEL_IN = (BODY_IN - FRAME_IN - SIDE_IN - BAR_IN - 3 * GAP_IN) / 3
UNDER_IN = 0.3
COLUMNS = ("teacher", "prediction", "|difference|")
DIRECTION = LinearSegmentedColormap.from_list("direction", [BLUE, "#9CC9E2", "#F7F7F7", "#F3C983", "#B35806"])
AMOUNT = LinearSegmentedColormap.from_list("amount", ["#F7F7F7", "#9CC9E2", BLUE, "#08264A"])
FAULT = LinearSegmentedColormap.from_list("fault", ["#FFFFFF", "#BDBDBD", "#000000"])


@dataclass(frozen=True)
class MapScene:
    """One frame and its maps. Coordinates are frame pixels.

    Args:
        frame: the picture.
        teacher: the teacher's maps, (channels, rows, columns).
        predicted: the head's, likewise.
        channels: the channels' names: ``sin`` and ``cos`` are directions from -1 to 1, others amounts from 0.
        extent: left, right, bottom and top of the maps over the frame.
        place: which frame it is, in a few words.
        teacher_corners: decoded from the teacher's maps, (n, 2) as (x, y).
        predicted_corners: decoded from the predicted maps by the same decoder.
        matched: how many predicted corners have a teacher's of their own within ``within_px``.
        within_px: how near that is, in pixels of the frame.
    """

    frame: UInt8[np.ndarray, "h w 3"]
    teacher: Float[np.ndarray, "c rows columns"]
    predicted: Float[np.ndarray, "c rows columns"]
    channels: tuple[str, ...]
    extent: tuple[float, float, float, float]
    place: str
    teacher_corners: Float[np.ndarray, "n 2"]
    predicted_corners: Float[np.ndarray, "m 2"]
    matched: int
    within_px: float


def draw_maps(scenes: Sequence[MapScene], path: Path, *, title: str, caption: str, simulated: bool) -> Path:
    """Write a PNG with one block a scene: the frame with both sets of corners, and one row a channel beside it.

    Args:
        scenes: frames.
        path: the PNG file.
        title: what was predicted from what.
        caption: where the frames come from and by which rule they were chosen.
        simulated: stamp SIMULATED.

    Raises:
        NoFigure: there is no scene.
    """
    if not scenes:
        raise NoFigure(path.stem, "there is no frame to show")
    heights = [_block_height(scene) for scene in scenes]
    sheet = Sheet(title, caption, sum(heights) + UNDER_IN * (len(scenes) - 1), simulated=simulated)
    top = 0.0
    for scene, height in zip(scenes, heights, strict=True):
        _draw_corners(sheet, scene, top)
        _draw_channels(sheet, scene, top)
        top += height + UNDER_IN
    return sheet.save(path)


def corner_marks(axes: Axes, scene: MapScene) -> None:
    """The teacher's corners as open circles, the predicted ones as crosses; apart in shape as well as in colour."""
    teacher, predicted = scene.teacher_corners, scene.predicted_corners
    axes.plot(
        teacher[:, 0],
        teacher[:, 1],
        linestyle="",
        marker="o",
        markersize=11,
        markerfacecolor="none",
        markeredgecolor=SKY,
        markeredgewidth=2.2,
        path_effects=HALO,
    )
    axes.plot(
        predicted[:, 0],
        predicted[:, 1],
        linestyle="",
        marker="x",
        markersize=8,
        color=ORANGE,
        markeredgewidth=2.4,
        path_effects=HALO,
    )


def _aspect(scene: MapScene) -> float:
    return float(scene.frame.shape[0] / scene.frame.shape[1])


def _block_height(scene: MapScene) -> float:
    rows = HEAD_IN + len(scene.channels) * (PANEL_IN * _aspect(scene) + GAP_IN)
    return max(rows, HEAD_IN + FRAME_IN * _aspect(scene) + 1.15)


def _draw_corners(sheet: Sheet, scene: MapScene, top: float) -> None:
    height, width = scene.frame.shape[:2]
    axes = sheet.axes(0.0, top + HEAD_IN, FRAME_IN, FRAME_IN * _aspect(scene))
    axes.imshow(scene.frame, extent=(0, width, height, 0), interpolation="antialiased")
    corner_marks(axes, scene)
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], aspect="auto")
    axes.spines[:].set_visible(False)
    sheet.write(0.0, top, scene.place, size=HEAD_PT, weight="bold")
    _legend(sheet, scene, top + HEAD_IN + FRAME_IN * _aspect(scene) + 0.12)


def _legend(sheet: Sheet, scene: MapScene, top: float) -> None:
    key = sheet.axes(0.0, top, 0.25, 0.5)
    key.plot(0.5, 0.75, marker="o", markersize=9, markerfacecolor="none", markeredgecolor=SKY, markeredgewidth=2.2)
    key.plot(0.5, 0.25, marker="x", markersize=7, color=ORANGE, markeredgewidth=2.4)
    key.set(xlim=(0, 1), ylim=(0, 1))
    key.set_axis_off()
    for line in key.lines:
        line.set_path_effects(HALO)
    lines = (("teacher", len(scene.teacher_corners)), ("prediction", len(scene.predicted_corners)))
    for number, (name, count) in enumerate(lines):
        text = f"corners of the {name}: {count}"
        sheet.write(0.32, top + 0.05 + 0.25 * number, text, size=TEXT_PT)
    said = f"{scene.matched} of {len(scene.predicted_corners)} within {scene.within_px:g} px of one of the teacher's"
    sheet.write(0.0, top + 0.6, wrap(said, FRAME_IN, SMALL_PT), size=SMALL_PT, color=FAINT)


def _draw_channels(sheet: Sheet, scene: MapScene, top: float) -> None:
    left, height = FRAME_IN + GAP_IN + SIDE_IN, PANEL_IN * _aspect(scene)
    for number, name in enumerate(COLUMNS):
        sheet.write(left + number * (PANEL_IN + GAP_IN), top, name, size=HEAD_PT, weight="bold")
    for row, channel in enumerate(scene.channels):
        low = top + HEAD_IN + row * (height + GAP_IN)
        _draw_channel(sheet, scene, row, left, low)
        error = float(np.square(scene.predicted[row] - scene.teacher[row]).mean())
        sheet.write(left - 0.08, low + 0.04, channel, size=TEXT_PT, weight="bold", align="right")
        sheet.write(left - 0.08, low + 0.26, f"MSE\n{error:.2g}", size=SMALL_PT, color=FAINT, align="right")


def _draw_channel(sheet: Sheet, scene: MapScene, row: int, left: float, top: float) -> None:
    height, width = scene.frame.shape[:2]
    height_in = PANEL_IN * _aspect(scene)
    norm, colours = _scale(scene, row)
    difference = np.abs(scene.predicted[row] - scene.teacher[row])
    faults = Normalize(0, _most(difference, norm))
    pictures = ((scene.teacher[row], norm, colours), (scene.predicted[row], norm, colours), (difference, faults, FAULT))
    for number, (picture, scale, palette) in enumerate(pictures):
        axes = sheet.axes(left + number * (PANEL_IN + GAP_IN), top, PANEL_IN, height_in)
        drawn = axes.imshow(
            picture,
            cmap=palette,
            norm=scale,
            extent=scene.extent,
            interpolation="antialiased",
        )
        axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], aspect="auto")
        axes.spines[:].set(color="#BBBBBB", linewidth=0.6)
        if number != 1:
            room = (height_in - 0.24) / 2
            place = (left + 3 * (PANEL_IN + GAP_IN) + 0.03, top + 0.05 + (room + 0.16) * (number == 2), 0.1, room)
            _bar(sheet, drawn, place, over=number == 2)


def _most(difference: Float[np.ndarray, "rows columns"], norm: Normalize) -> float:
    """Where the scale of a difference ends: nearly its greatest value, but never so low that rounding is seen."""
    least = 0.02 * float(norm.vmax or 1.0)
    return max(float(np.percentile(difference, 99.5)), least)


def _bar(sheet: Sheet, drawn: AxesImage, place: tuple[float, float, float, float], *, over: bool) -> None:
    """A colour bar: of the maps in the upper half, of the difference in the lower one, which may lie beyond it."""
    bar = sheet.figure.colorbar(drawn, cax=sheet.axes(*place))
    low, high = drawn.get_clim()
    assert low is not None
    assert high is not None
    bar.set_ticks([low, high], labels=[f"{low:g}", f"≥ {high:.2g}" if over else f"{high:.2g}"])
    bar.ax.tick_params(labelsize=SMALL_PT, colors=INK, length=2, pad=2)
    for spine in bar.ax.spines.values():
        spine.set_linewidth(0.5)


def _scale(scene: MapScene, row: int) -> tuple[Normalize, Colormap]:
    if scene.channels[row] in ("sin", "cos", "dx", "dy"):
        return Normalize(-1, 1), DIRECTION
    top = float(np.percentile(scene.teacher[row], 99.5))
    return Normalize(0, top if top > 0 else 1.0), AMOUNT
