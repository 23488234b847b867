"""Frames of a film: one frame with the head's answer, the instruction above, the score over time below.

What stays the same through a film is drawn once; of each frame only the picture, its words and the cursor are drawn
anew, frame and heat without matplotlib (:mod:`.raster`), whose images take longer than all the rest.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from ..figures.canvas import DPI, FAINT, GREEN, HEAT, INK, SKY, VERMILION, mark_simulated, new_figure
from ..figures.panel import HALO, Panel, draw_grid, draw_marks, fill
from .pointing import THRESHOLD
from .raster import paint

WIDTH_IN, SIDE_IN, TOP_IN, LINE_IN, KEY_IN, CHART_IN = 6.4, 0.2, 0.5, 0.36, 0.36, 1.15
GOOD, BAD = ("HIT", "SILENT"), ("MISS", "FALSE ALARM")


class Film:
    """Draws the frames of one episode.

    Args:
        title: the instruction.
        scores: the highest cell score of every frame.
        fps: frames a second.
        size: (height, width) of a frame in pixels.
        simulated: stamp SIMULATED.
        phases: the task's phase of every frame, "" where it is unknown.
    """

    def __init__(
        self,
        title: str,
        scores: Sequence[float],
        fps: float,
        size: tuple[int, int],
        *,
        simulated: bool,
        phases: Sequence[str] = (),
    ) -> None:
        width = WIDTH_IN - 2 * SIDE_IN
        picture = width * size[0] / size[1]
        self._height = _even(TOP_IN + LINE_IN + picture + KEY_IN + CHART_IN)
        self._figure = new_figure(WIDTH_IN, self._height)
        self._fps, self._count = fps, len(scores)
        self._panel = self._axes(TOP_IN + LINE_IN, width, picture)
        fill(self._panel, size)
        words = self._axes(TOP_IN, width, LINE_IN)
        words.set_axis_off()
        self._heading = words.text(0, 0.5, "", fontsize=11, color=INK, va="center")
        self._verdict = words.text(1, 0.5, "", fontsize=12, va="center", ha="right", weight="bold")
        chart = self._axes(TOP_IN + LINE_IN + picture + KEY_IN + 0.08, width, CHART_IN - 0.5)
        self._cursor = _draw_chart(chart, scores, fps, phases)
        self._chart = chart
        room = 66 if simulated else 78
        size_pt = 13 if len(title) <= 0.72 * room else 10.5
        told = title if len(title) <= room + 6 else f"{title[: room + 5]}…"
        self._figure.text(
            SIDE_IN / WIDTH_IN, 1 - 0.3 / self._height, told, fontsize=size_pt, color=INK, weight="bold", va="center"
        )
        self._figure.legend(handles=_key(), loc="center", bbox_to_anchor=(0.5, self._key_height(picture)), **_KEY_LOOK)
        if simulated:
            mark_simulated(self._figure, 1 - 0.12 / self._height)
        self._grid, self._drawn, self._edges = list[Artist](), list[Artist](), tuple[float, ...]()
        self._background = self._draw_background()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what :meth:`draw` gives, both even, as video codecs want them."""
        width, height = self._canvas.get_width_height()
        return height, width

    def draw(self, number: int, panel: Panel) -> UInt8[np.ndarray, "h w 3"]:
        """The picture of one frame.

        Args:
            number: the frame's number in the episode.
            panel: what to draw; its heading stands above the frame on the left, its verdict on the right.
        """
        self._canvas.restore_region(self._background)
        pixels = np.asarray(self._canvas.buffer_rgba())  # (h, w, 4), the canvas itself
        place = self._place
        height, width = pixels[place].shape[:2]
        pixels[place][..., :3] = paint(panel, (height, width))
        self._say(panel)
        self._cursor.set_xdata([number / self._fps])
        renderer = self._canvas.get_renderer()
        for artist in (*self._marks(panel), self._heading, self._verdict, self._cursor):
            artist.draw(renderer)
        return np.stack([pixels[..., channel] for channel in range(3)], axis=-1)

    @property
    def _canvas(self) -> Any:
        return self._figure.canvas

    def _axes(self, top: float, width: float, height: float) -> Axes:
        """Axes ``top`` inches below the figure's upper edge."""
        bottom = 1 - (top + height) / self._height
        return self._figure.add_axes((SIDE_IN / WIDTH_IN, bottom, width / WIDTH_IN, height / self._height))

    def _key_height(self, picture: float) -> float:
        return 1 - (TOP_IN + LINE_IN + picture + KEY_IN / 2) / self._height

    def _marks(self, panel: Panel) -> list[Artist]:
        """What lies on the picture, from below to above; the artists of the frame before are gone."""
        for artist in self._drawn:
            artist.remove()
        edges = (*panel.column_edges, *panel.row_edges)
        if edges != self._edges:
            for artist in self._grid:
                artist.remove()
            self._grid, self._edges = self._added(draw_grid, panel), edges
        self._drawn = self._added(draw_marks, panel)
        return sorted((*self._grid, *self._drawn), key=Artist.get_zorder)

    def _added(self, draw: Callable[[Axes, Panel], None], panel: Panel) -> list[Artist]:
        """The artists that ``draw`` adds to the picture's axes."""
        before = set(self._panel.get_children())
        draw(self._panel, panel)
        return [artist for artist in self._panel.get_children() if artist not in before]

    def _say(self, panel: Panel) -> None:
        verdict = panel.verdict
        self._heading.set_text(panel.heading)
        self._verdict.set_text(verdict)
        good, bad = verdict.startswith(GOOD), verdict.startswith(BAD)
        self._verdict.set_color(GREEN if good else VERMILION if bad else INK)

    @property
    def _place(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas that the picture covers."""
        box, height = self._panel.bbox, self.size[0]
        return slice(height - round(box.y1), height - round(box.y0)), slice(round(box.x0), round(box.x1))

    def _draw_background(self) -> Any:
        """Everything but the picture, its words and the cursor."""
        changing = (self._panel, self._heading, self._verdict, self._cursor)
        for artist in changing:
            artist.set_visible(False)
        self._canvas.draw()
        background = self._canvas.copy_from_bbox(self._figure.bbox)
        for artist in changing:
            artist.set_visible(True)
        return background


_KEY_LOOK: dict[str, Any] = {"ncols": 4, "frameon": False, "fontsize": 9, "handlelength": 1.6, "columnspacing": 1.5}


def _draw_chart(axes: Axes, scores: Sequence[float], fps: float, phases: Sequence[str]) -> Line2D:
    """Score over time with the threshold and the phases; returns the cursor."""
    times = np.arange(len(scores)) / fps
    end = max(times[-1], 1 / fps)
    axes.plot(times, scores, color=INK, linewidth=1.6)
    axes.axhline(THRESHOLD, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    axes.set(xlim=(0, end), ylim=(0, 1.02), yticks=[0, THRESHOLD, 1])
    axes.set_ylabel("score", fontsize=9, labelpad=1)
    axes.set_xlabel("seconds", fontsize=9, labelpad=1)
    axes.tick_params(labelsize=8, length=2)
    axes.spines[["top", "right"]].set_visible(False)
    box = axes.get_position()
    axes.set_position((box.x0 + 0.06, box.y0, box.width - 0.06, box.height))
    for start, stop, phase in _runs(phases):
        if start:
            axes.axvline(start / fps, color=FAINT, linewidth=0.8)
        if (stop - start) / len(scores) > 0.012 * len(phase):
            middle = (start + stop) / 2 / fps
            axes.text(middle, 1.06, phase, fontsize=8, color=FAINT, ha="center", va="bottom")
    (cursor,) = axes.plot([0, 0], [0, 1], color=VERMILION, linewidth=2)
    return cursor


def _runs(phases: Sequence[str]) -> list[tuple[int, int, str]]:
    """(first, behind the last, phase) of every run of one phase that has a name."""
    borders = [0, *(at for at in range(1, len(phases)) if phases[at] != phases[at - 1]), len(phases)]
    return [(a, b, phases[a]) for a, b in itertools.pairwise(borders) if a < b and phases[a]]


def _key() -> list[Patch | Line2D]:
    return [
        Rectangle((0, 0), 1, 1, facecolor=HEAT(0.9), edgecolor="none", label="cell, by score"),
        Line2D([], [], color="white", linewidth=1.6, path_effects=HALO, label="true region"),
        Rectangle((0, 0), 1, 1, fill=False, edgecolor=SKY, linewidth=2, path_effects=HALO, label="sub-cell"),
        Line2D(
            [],
            [],
            color=SKY,
            marker="x",
            markersize=8,
            markeredgewidth=2.2,
            linestyle="",
            path_effects=HALO,
            label="point",
        ),
    ]


def _even(height_in: float) -> float:
    """The height at which both sides of the figure are an even number of pixels."""
    return 2 * round(height_in * DPI / 2) / DPI
