"""A table for a terminal: aligned text, the best of each block bold, or starred where there is no bold."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .digits import NOTHING, half_shown, printable, shown
from .table import CONTROLS, Block, PaperTable, Row

WIDTH = 100
GAP = "  "
BOLD, DIM, END = "\033[1m", "\033[2m", "\033[0m"


@dataclass(frozen=True)
class Piece:
    """What is printed in one place, and whether it stands out."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class Strip:
    """One printed line: its name, its pieces, and whether it is said softly."""

    label: str
    pieces: tuple[Piece, ...]
    soft: bool = False


@dataclass(frozen=True)
class Style:
    """How the table is printed.

    Args:
        width: characters a line; intervals stand beside their numbers where this leaves room, else under them.
        colour: bold and dim by escape codes; without, a star marks the best.
    """

    width: int = WIDTH
    colour: bool = False

    def bold(self, text: str) -> str:
        """Text that stands out."""
        return f"{BOLD}{text}{END}" if self.colour and text else text

    def soft(self, text: str) -> str:
        """Text that steps back."""
        return f"{DIM}{text.rstrip()}{END}" if self.colour and text.strip() else text.rstrip()


def terminal(table: PaperTable, *, width: int = WIDTH, colour: bool = False) -> str:
    """The table as text of at most ``width`` characters a line, where its columns leave room for that."""
    style = Style(width, colour)
    blocks = _blocks(table, style, beside=True)
    if _total(_widths(table, blocks)) > width:
        blocks = _blocks(table, style, beside=False)
    widths = _widths(table, blocks)
    thick, thin = ("━" * _total(widths), style.soft("─" * _total(widths)))
    lines = [style.bold(f"Table {table.number}  {table.title}"), *_softly(table.facts, style), thick]
    lines.append(_printed(Strip(table.corner, _headings(table, style)), widths, style))
    for strips in blocks:
        lines += [thin, *(_printed(strip, widths, style) for strip in strips)]
    notes = (textwrap.wrap(printable(note), width, initial_indent="! ", subsequent_indent="  ") for note in table.notes)
    return "\n".join([*lines, thick, *_softly(table.legend, style), *(line for note in notes for line in note)]) + "\n"


def _blocks(table: PaperTable, style: Style, *, beside: bool) -> list[list[Strip]]:
    starred = _starred(table, style)
    return [list(_strips(block, table, starred, beside=beside)) for block in table.blocks]


def _starred(table: PaperTable, style: Style) -> tuple[str, ...]:
    """For each column, what stands where a star would: nothing if none does."""
    rows = [row for block in table.blocks for row in block.rows]
    any_best = (any(row.cells[place].best for row in rows) for place in range(len(table.columns)))
    return tuple(" " if best and not style.colour else "" for best in any_best)


def _headings(table: PaperTable, style: Style) -> tuple[Piece, ...]:
    pairs = zip(table.columns, _starred(table, style), strict=True)
    return tuple(Piece(column.heading + room) for column, room in pairs)


def _strips(block: Block, table: PaperTable, starred: Sequence[str], *, beside: bool) -> Iterator[Strip]:
    for row, label in zip(block.rows, labels_of(block), strict=True):
        soft = row.of == "paper"
        yield Strip(label, tuple(_pieces(row, table, starred, beside=beside)), soft)
        if not beside and any(cell.half is not None for cell in row.cells):
            trio = zip(row.cells, table.columns, starred, strict=True)
            halves = ((half_shown(cell, column), room) for cell, column, room in trio)
            yield Strip("", tuple(Piece(f"±{half}{room}" if half else "") for half, room in halves), soft=True)


def labels_of(block: Block) -> list[str]:
    """A name for every row of a block; the block's own stands at its first row, an arrow where it is carried on."""
    labels = []
    for number, row in enumerate(block.rows):
        own = printable(row.label.replace("_", " ") or (block.name if number == 0 else ""))
        arrow = "→ " if row.carried else "  "
        labels.append(arrow + own if block.name not in ("", CONTROLS) else own)
    return labels


def _pieces(row: Row, table: PaperTable, starred: Sequence[str], *, beside: bool) -> Iterator[Piece]:
    for cell, column, room in zip(row.cells, table.columns, starred, strict=True):
        text, half = shown(cell, column), half_shown(cell, column)
        text = "" if text == NOTHING and row.of == "paper" else text
        marked = text + ("*" if cell.best and room else room)
        yield Piece(f"{marked} ±{half}" if beside and half else marked, cell.best or cell.varied)


def _widths(table: PaperTable, blocks: Sequence[Sequence[Strip]]) -> list[int]:
    strips = [strip for block in blocks for strip in block]
    headings = _headings(table, Style(colour=True))
    label = max([len(table.corner), *(len(strip.label) for strip in strips)])
    return [
        label,
        *(max([len(one.text), *(len(s.pieces[i].text) for s in strips)]) for i, one in enumerate(headings)),
    ]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _printed(strip: Strip, widths: Sequence[int], style: Style) -> str:
    pairs = zip(strip.pieces, widths[1:], strict=True)
    pieces = [" " * (width - len(one.text)) + (style.bold(one.text) if one.bold else one.text) for one, width in pairs]
    line = GAP.join([strip.label.ljust(widths[0]), *pieces])
    return style.soft(line) if strip.soft else line.rstrip()


def _softly(texts: Sequence[str], style: Style) -> list[str]:
    return [style.soft(line) for text in texts for line in textwrap.wrap(printable(text), style.width)]
