"""Text on figures: measured, wrapped and free of what the font cannot show or matplotlib would take for a formula."""

import math
from functools import cache

from matplotlib import font_manager
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

LONGEST = 400  # characters of a text that came from data
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


def width_of(text: str, size_pt: float, weight: str = "normal") -> float:
    """The width of one line in inches, by the font's own advances."""
    font = _font(weight)
    font.set_size(size_pt, 72)
    font.set_text(text, 0.0)
    pixels = font.get_width_height()[0] / 64
    return float(pixels / 72)


def height_of(text: str, size_pt: float, spacing: float = 1.25) -> float:
    """The height of a block of lines in inches; 0 for no text."""
    return (text.count("\n") + 1) * size_pt * spacing / 72 if text else 0.0


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
