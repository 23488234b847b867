"""A table in LaTeX, for the package booktabs; whatever a run says of itself is escaped."""

import re
from collections.abc import Iterator

from .digits import half_shown, printable, shown
from .table import Block, Cell, Column, PaperTable, Row
from .terminal import labels_of

ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "`": r"\textasciigrave{}", "→": r"$\rightarrow$", "±": r"$\pm$", "–": "--",
    "…": r"\dots{}",
}  # fmt: skip
ARROWS = {"lower": r" $\downarrow$", "higher": r" $\uparrow$", "": ""}


def latex(table: PaperTable) -> str:
    """The table as a ``table`` environment; its notes are comments above it."""
    says = [*(f"% note: {printable(note)}" for note in table.notes)]
    caption = " ".join(escape(f"{text[0].upper()}{text[1:]}.") for text in (table.title, *table.facts, *table.legend))
    columns = "@{}l" + "r" * len(table.columns) + "@{}"
    lines = [r"% needs \usepackage{booktabs}", *says, r"\begin{table}[t]", r"\centering", r"\footnotesize"]
    lines += [r"\setlength{\tabcolsep}{4pt}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _headings(table)]
    for block in table.blocks:
        lines += [r"\midrule", *_rows(block, table.columns)]
    lines += [
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:visual-thought-{table.number}}}",
    ]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def escape(text: str) -> str:
    """Words of anybody's as text: no character of them is a command, and none is a control character."""
    return "".join(ESCAPES.get(char, char) for char in printable(text))


def _headings(table: PaperTable) -> str:
    named = ((column.latex or escape(column.heading)) + ARROWS[column.better] for column in table.columns)
    return " & ".join([escape(table.corner), *named]) + r" \\"


def _rows(block: Block, columns: tuple[Column, ...]) -> Iterator[str]:
    for row, label in zip(block.rows, labels_of(block), strict=True):
        name = escape(label.strip())
        cells = [rf"\textit{{{name}}}" if row.of == "paper" else name, *_cells(row, columns)]
        yield " & ".join(cells) + r" \\"


def _cells(row: Row, columns: tuple[Column, ...]) -> Iterator[str]:
    for cell, column in zip(row.cells, columns, strict=True):
        if row.of == "paper":
            yield rf"\textit{{{_value(cell, column)}}}" if cell.value is not None else ""
            continue
        half = half_shown(cell, column)
        value = _value(cell, column)
        bold = rf"\textbf{{{value}}}" if (cell.best or cell.varied) and value else value
        yield bold + (rf" {{\scriptsize$\pm${half}}}" if half else "")


def _value(cell: Cell, column: Column) -> str:
    text = shown(cell, column)
    power = re.fullmatch(r"(-?[\d.]+)e(-?\d+)", text) if isinstance(cell.value, float) else None
    if power:
        return (
            rf"$\mathbf{{{power[1]} \times 10^{{{power[2]}}}}}$"
            if cell.best or cell.varied
            else (rf"${power[1]} \times 10^{{{power[2]}}}$")
        )
    return escape(text)
