"""The page every figure is drawn on: a title above, the body, a caption below, all placed in inches.

Ten inches wide, so that at 1000 pixels a point of type is 1.4 pixels and the smallest type, 9 pt, stays readable.
"""

from pathlib import Path

from matplotlib.axes import Axes

from .canvas import FAINT, INK, mark_simulated, new_figure, save
from .words import SPACING, balance, height_of, plainly, width_of, wrap

WIDTH_IN, MARGIN_IN = 10.0, 0.25
BODY_IN = WIDTH_IN - 2 * MARGIN_IN
TITLE_PT, HEAD_PT, TEXT_PT, SMALL_PT = 14.0, 11.0, 10.0, 9.0
GAP_IN, MARK_IN = 0.14, 1.35
ASCENT = 0.93  # of the font, in its size


class Sheet:
    """One figure. Places in the body are inches from its top left corner, y down.

    Args:
        title: what the figure shows; wrapped.
        caption: where it comes from and how it was chosen; wrapped.
        height_in: of the body.
        simulated: stamp SIMULATED.
    """

    def __init__(self, title: str, caption: str, height_in: float, *, simulated: bool) -> None:
        title = balance(title, BODY_IN - (MARK_IN if simulated else 0), TITLE_PT, weight="bold")
        caption = wrap(caption, BODY_IN, SMALL_PT)
        below = height_of(caption, SMALL_PT) + GAP_IN if caption else 0.0
        self.top_in = MARGIN_IN + height_of(title, TITLE_PT) + GAP_IN
        self.height_in = self.top_in + height_in + below + MARGIN_IN
        self.figure = new_figure(WIDTH_IN, self.height_in)
        self._write(MARGIN_IN, MARGIN_IN, title, size=TITLE_PT, weight="bold")
        self._write(MARGIN_IN, self.top_in + height_in + GAP_IN, caption, size=SMALL_PT, color=FAINT)
        if simulated:
            mark_simulated(self.figure, 1 - MARGIN_IN / self.height_in)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes in the body."""
        bottom = self.height_in - self.top_in - top - height
        return self.figure.add_axes(
            (
                (MARGIN_IN + left) / WIDTH_IN,
                bottom / self.height_in,
                width / WIDTH_IN,
                height / self.height_in,
            )
        )

    def write(
        self,
        left: float,
        top: float,
        text: str,
        *,
        size: float = TEXT_PT,
        color: str = INK,
        weight: str = "normal",
        align: str = "left",
    ) -> None:
        """Text in the body; ``top`` is its upper edge. Lines of one size and place stand on one base line."""
        self._write(MARGIN_IN + left, self.top_in + top, text, size=size, color=color, weight=weight, align=align)

    def save(self, path: Path) -> Path:
        """Write the PNG; returns the path."""
        return save(self.figure, path)

    def _write(
        self,
        left: float,
        top: float,
        text: str,
        *,
        size: float,
        color: str = INK,
        weight: str = "normal",
        align: str = "left",
    ) -> None:
        for number, line in enumerate(text.split("\n")):
            base = top + (ASCENT + number * SPACING) * size / 72
            place = (left / WIDTH_IN, 1 - base / self.height_in)
            plainly(self.figure.text(*place, line, ha=align, va="baseline", fontsize=size, color=color, weight=weight))


def fitting(text: str, width_in: float, *, size: float = HEAD_PT, weight: str = "normal") -> float:
    """The font size at which one line fits, at most ``size`` and never under 9 pt."""
    return max(SMALL_PT, min(size, size * width_in / max(width_of(text, size, weight), 1e-9)))
