"""Text on figures: measured, wrapped and free of what the font cannot show or matplotlib would take for a formula."""

import math
from functools import cache

from matplotlib import font_manager
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

SPACING = 1.25  # from line to line, in the size of the font
LONGEST = 400  # characters of a text that came from data
_FINE = 10  # measured ten times as large, so that hinting to whole pixels does not count
MISSING = "\N{WHITE SQUARE}"


def legible(text: str, longest: int = LONGEST) -> str:
    """A text from data as one line: white space joined, unknown glyphs as squares, cut with an ellipsis."""
    known = _font("normal").get_charmap()
    joined = " ".join(text[: 4 * longest].split())
    shown = "".join(one if ord(one) in known and one.isprintable() else MISSING for one in joined)
    return shown if len(shown) <= longest else shown[: longest - 2].rstrip() + " …"


def wrap(text: str, width_in: float, size_pt: float, *, weight: str = "normal", lines: int | None = None) -> str:
    """Break a text into lines no wider than ``width_in`` inches; a word that is wider is broken itself.

    Args:
        text: what to write; its own line breaks stay.
        width_in: room.
        size_pt: of the font.
        weight: of the font.
        lines: most lines; what is left over becomes an ellipsis. None is as many as it takes.
    """
    found = [line for part in text.split("\n") for line in _lines(part, width_in, size_pt, weight)]
    if lines is not None and len(found) > lines:
        last = found[lines - 1]
        while last and width_of(f"{last} …", size_pt, weight) > width_in:
            last = last[:-1].rstrip()
        found = [*found[: lines - 1], f"{last} …"]
    return "\n".join(found)


def balance(text: str, width_in: float, size_pt: float, *, weight: str = "normal") -> str:
    """:func:`wrap` to as many lines, but of similar lengths, so that no single word stands on the last one."""
    best = wrap(text, width_in, size_pt, weight=weight)
    for share in (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5):
        narrower = wrap(text, share * width_in, size_pt, weight=weight)
        if narrower.count("\n") > best.count("\n"):
            break
        best = narrower
    return best


def width_of(text: str, size_pt: float, weight: str = "normal") -> float:
    """The width of one line in inches, by the font's own advances."""
    font = _font(weight)
    font.set_size(size_pt, 72 * _FINE)
    font.set_text(text, 0.0)
    return float(font.get_width_height()[0] / 64 / 72 / _FINE)


def height_of(text: str, size_pt: float) -> float:
    """The height of a block of lines in inches; 0 for no text."""
    return (text.count("\n") + 1) * size_pt * SPACING / 72 if text else 0.0


def plainly(text: Text) -> Text:
    """The same text, in which a dollar sign is a dollar sign."""
    text.set_parse_math(False)
    return text


def _lines(text: str, width_in: float, size_pt: float, weight: str) -> list[str]:
    lines, line = list[str](), ""
    for word in _pieces(text.split(), width_in, size_pt, weight):
        longer = f"{line} {word}" if line else word
        if line and width_of(longer, size_pt, weight) > width_in:
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line]


def _pieces(words: list[str], width_in: float, size_pt: float, weight: str) -> list[str]:
    """The words, those that are wider than a line in parts that are not."""
    pieces = []
    for word in words:
        width = width_of(word, size_pt, weight)
        length = len(word) if width <= width_in else max(1, math.floor(len(word) * width_in / width * 0.8))
        pieces += [word[start : start + length] for start in range(0, len(word), max(1, length))]
    return pieces


@cache
def _font(weight: str) -> FT2Font:
    path = font_manager.findfont(FontProperties(family="DejaVu Sans", weight=weight))
    return FT2Font(str(path))
