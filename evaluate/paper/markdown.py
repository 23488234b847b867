"""A table in Markdown: the best of each block bold, the paper's rows in italics."""

import re
from collections.abc import Iterator

from .digits import half_shown, printable, shown
from .table import Cell, Column, PaperTable, Row
from .terminal import labels_of


def markdown(table: PaperTable) -> str:
    """The table as a heading, a table and two lists."""
    headings = [table.corner, *(column.heading for column in table.columns)]
    lines = [f"### Table {table.number}. {plain(table.title)}", "", *(f"{plain(fact)}  " for fact in table.facts), ""]
    lines += ["| " + " | ".join(map(plain, headings)) + " |", "|---|" + "---:|" * len(table.columns)]
    for block in table.blocks:
        for row, label in zip(block.rows, labels_of(block), strict=True):
            lines.append("| " + " | ".join([plain(label.strip()), *_cells(row, table.columns)]) + " |")
    said = [*(f"* {plain(text)}" for text in table.legend), *(f"* **note**: {plain(text)}" for text in table.notes)]
    return "\n".join([*lines, "", *said]) + "\n"


def plain(text: str) -> str:
    """Words of anybody's as text: nothing in them is markup, a link or the end of a cell."""
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", printable(text))


def _cells(row: Row, columns: tuple[Column, ...]) -> Iterator[str]:
    for cell, column in zip(row.cells, columns, strict=True):
        text = _text(cell, column)
        if row.of == "paper":
            yield f"*{text}*" if cell.value is not None else ""
        else:
            yield f"**{text}**" if (cell.best or cell.varied) and text else text


def _text(cell: Cell, column: Column) -> str:
    half = half_shown(cell, column)
    return plain(shown(cell, column)) + (f" ± {half}" if half else "")
