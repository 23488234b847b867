"""The failure gallery: the worst false positives and false negatives, with what was asked, said and true."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .canvas import FAINT
from .missing import NoFigure
from .overlay import draw_key
from .panel import Panel, draw_panel
from .sheet import BODY_IN, HEAD_PT, SMALL_PT, TEXT_PT, Sheet
from .words import height_of, legible, wrap

ACROSS, GAP_IN, HEAD_IN, UNDER_IN, KEY_IN = 3, 0.2, 0.3, 0.28, 0.42
PANEL_IN = (BODY_IN - (ACROSS - 1) * GAP_IN) / ACROSS


@dataclass(frozen=True)
class Failure:
    """One wrong answer.

    Args:
        panel: the frame with the head's answer.
        asked: the instruction.
        said: what the head said, with its score.
        true: what was true.
        place: where the frame is from.
    """

    panel: Panel
    asked: str
    said: str
    true: str
    place: str


@dataclass(frozen=True)
class FailureKind:
    """All failures of one kind, the worst first.

    Args:
        name: ``false positives`` or ``false negatives``.
        rule: what makes one worse than another, in a few words.
        count: how many rows failed this way.
        of: of how many rows that could.
        worst: those shown.
    """

    name: str
    rule: str
    count: int
    of: int
    worst: tuple[Failure, ...]


def draw_gallery(kinds: Sequence[FailureKind], path: Path, *, title: str, caption: str, simulated: bool) -> Path:
    """Write a PNG with one block a kind, three failures a row.

    Args:
        kinds: what went wrong.
        path: the PNG file.
        title: of which run and split.
        caption: by which rule they were chosen.
        simulated: stamp SIMULATED.

    Raises:
        NoFigure: nothing failed.
    """
    shown = [failure for kind in kinds for failure in kind.worst]
    if not shown:
        raise NoFigure(path.stem, "no row was answered wrongly")
    blocks = [_rows(kind) for kind in kinds]
    heights = [HEAD_IN + sum(_row_height(row) for row in rows) + (0.0 if rows else 0.3) for rows in blocks]
    sheet = Sheet(title, caption, sum(heights) + KEY_IN, simulated=simulated)
    top = 0.0
    for kind, rows, height in zip(kinds, blocks, heights, strict=True):
        _draw_kind(sheet, kind, rows, top)
        top += height
    _draw_last(sheet, shown[0].panel, top)
    return sheet.save(path)


def _draw_kind(sheet: Sheet, kind: FailureKind, rows: Sequence[Sequence[Failure]], top: float) -> None:
    heading = f"{kind.name.capitalize()}: {kind.count} of {kind.of} rows"
    sheet.write(0.0, top, heading, size=HEAD_PT + 1, weight="bold")
    sheet.write(BODY_IN, top + 0.03, kind.rule, size=SMALL_PT, color=FAINT, align="right")
    top += HEAD_IN
    if not rows:
        sheet.write(0.0, top, "none", size=TEXT_PT)
    for row in rows:
        for number, failure in enumerate(row):
            _draw_failure(sheet, failure, number * (PANEL_IN + GAP_IN), top)
        top += _row_height(row)


def _draw_failure(sheet: Sheet, failure: Failure, left: float, top: float) -> None:
    height = _picture_height(failure)
    draw_panel(sheet.axes(left, top, PANEL_IN, height), failure.panel, small=True)
    top += height + 0.06
    for text, size, weight, color in _words(failure):
        sheet.write(left, top, text, size=size, weight=weight, color=color)
        top += height_of(text, size)


def _words(failure: Failure) -> list[tuple[str, float, str, str]]:
    asked = wrap(f"“{legible(failure.asked)}”", PANEL_IN, TEXT_PT, weight="bold", lines=3)
    lines = [(asked, TEXT_PT, "bold", "#1A1A1A")]
    for text in (f"said: {legible(failure.said)}", f"true: {legible(failure.true)}"):
        lines.append((wrap(text, PANEL_IN, TEXT_PT, lines=2), TEXT_PT, "normal", "#1A1A1A"))
    place = wrap(legible(failure.place), PANEL_IN, SMALL_PT, lines=2)
    return [*lines, (place, SMALL_PT, "normal", FAINT)]


def _rows(kind: FailureKind) -> list[Sequence[Failure]]:
    return [kind.worst[start : start + ACROSS] for start in range(0, len(kind.worst), ACROSS)]


def _picture_height(failure: Failure) -> float:
    return float(PANEL_IN * failure.panel.frame.shape[0] / failure.panel.frame.shape[1])


def _row_height(row: Sequence[Failure]) -> float:
    heights = [
        _picture_height(one) + 0.06 + sum(height_of(text, size) for text, size, *_ in _words(one)) for one in row
    ]
    return max(heights) + UNDER_IN


def _draw_last(sheet: Sheet, panel: Panel, top: float) -> None:
    """The key needs a heat image: one that nobody sees."""
    hidden = sheet.axes(0.0, 0.0, 0.01, 0.01)
    heat = draw_panel(hidden, panel, small=True)
    hidden.set_visible(False)
    draw_key(sheet, heat, panel.threshold, top)
