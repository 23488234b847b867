"""The triptych: a frame, the expert's tokens and the predicted ones, coloured by one PCA of the expert's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes

from .canvas import FAINT, INK
from .colours import TokenColours
from .missing import NoFigure
from .sheet import BODY_IN, HEAD_PT, SMALL_PT, TEXT_PT, Sheet

SIDE_IN, GAP_IN, HEAD_IN, UNDER_IN = 1.15, 0.1, 0.3, 0.12
PANEL_IN = (BODY_IN - SIDE_IN - 2 * GAP_IN) / 3
HEADINGS = ("frame", "expert's tokens", "predicted tokens")


@dataclass(frozen=True)
class TokenScene:
    """One row of the triptych. Coordinates are frame pixels.

    Args:
        frame: the picture.
        expert: the expert's tokens on its grid, (rows, columns, channels).
        predicted: the head's, likewise.
        extent: left, right, bottom and top of the grid over the frame; a letterboxed input reaches beyond it.
        place: which frame it is, in a few words.
        cosine: mean cosine similarity of a predicted token with its expert's.
        mse: mean squared difference, in the expert's own unit.
    """

    frame: UInt8[np.ndarray, "h w 3"]
    expert: Float[np.ndarray, "rows columns d"]
    predicted: Float[np.ndarray, "rows columns d"]
    extent: tuple[float, float, float, float]
    place: str
    cosine: float
    mse: float


def draw_tokens(scenes: Sequence[TokenScene], path: Path, *, title: str, caption: str, simulated: bool) -> Path:
    """Write a PNG with one row a scene.

    Args:
        scenes: frames of one expert; one PCA is fitted on the expert's tokens of all of them together.
        path: the PNG file.
        title: what was predicted from what.
        caption: where the frames come from and by which rule they were chosen.
        simulated: stamp SIMULATED.

    Raises:
        NoFigure: there is no scene.
    """
    if not scenes:
        raise NoFigure(path.stem, "there is no frame to show")
    colours = fit_colours(scenes)
    heights = [PANEL_IN * scene.frame.shape[0] / scene.frame.shape[1] for scene in scenes]
    body = HEAD_IN + sum(heights) + UNDER_IN * (len(scenes) - 1)
    sheet = Sheet(title, caption, body, simulated=simulated)
    for number, heading in enumerate(HEADINGS):
        sheet.write(SIDE_IN + number * (PANEL_IN + GAP_IN), 0.0, heading, size=HEAD_PT, weight="bold")
    top = HEAD_IN
    for scene, height in zip(scenes, heights, strict=True):
        _draw_row(sheet, scene, colours, top, height)
        top += height + UNDER_IN
    return sheet.save(path)


def fit_colours(scenes: Sequence[TokenScene]) -> TokenColours:
    """The one PCA of a figure: of the expert's tokens of all its frames."""
    return TokenColours.fit(np.concatenate([scene.expert.reshape(-1, scene.expert.shape[2]) for scene in scenes]))


def _draw_row(sheet: Sheet, scene: TokenScene, colours: TokenColours, top: float, height: float) -> None:
    pictures = (None, colours(scene.expert), colours(scene.predicted))
    for number, picture in enumerate(pictures):
        axes = sheet.axes(SIDE_IN + number * (PANEL_IN + GAP_IN), top, PANEL_IN, height)
        _draw_picture(axes, scene, picture)
    sheet.write(0.0, top, scene.place, size=SMALL_PT, color=FAINT)
    for line, (name, value) in enumerate((("cosine", f"{scene.cosine:.3f}"), ("MSE", f"{scene.mse:.3g}"))):
        low = top + height - 0.78 + 0.4 * line
        sheet.write(0.0, low, name, size=SMALL_PT, color=FAINT)
        sheet.write(0.0, low + 0.15, value, size=TEXT_PT + 2, color=INK, weight="bold")


def _draw_picture(axes: Axes, scene: TokenScene, picture: Float[np.ndarray, "rows columns 3"] | None) -> None:
    height, width = scene.frame.shape[:2]
    if picture is None:
        axes.imshow(scene.frame, extent=(0, width, height, 0), interpolation="antialiased")
    else:
        axes.imshow(picture, extent=scene.extent, interpolation="nearest")
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], aspect="auto")
    axes.spines[:].set_visible(False)
