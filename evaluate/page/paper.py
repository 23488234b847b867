"""The paper's tables of the judged runs, as tables of the page."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from ...pipeline.errors import VisualThoughtError
from ..paper.build import paper_tables
from ..paper.digits import half_shown, shown
from ..paper.evaluated import evaluated
from ..paper.runs import At
from ..paper.table import Cell, Column, PaperTable
from ..paper.terminal import labels_of
from ..report import Report
from .content import Table


def published_tables(report: Report) -> tuple[tuple[Table, ...], tuple[str, ...]]:
    """Every table of the paper that the runs' tasks have, and a sentence about those that cannot be built."""
    at: At = "best" if all(run.checkpoint == "best" for run in report.runs) else "last"
    untrained = report.asked.random_init
    known = {run.path.resolve(): evaluated(run.to_json()) for run in report.runs}
    try:
        tables = paper_tables(
            [run.path for run in report.runs], at=at, random_init=[untrained] if untrained else (), evaluated=known
        )
        return tuple(_table(table) for table in tables), ()
    except (VisualThoughtError, OSError) as error:
        why = error.problem if isinstance(error, VisualThoughtError) else error.strerror
        return (), (f"the paper's tables: {why}",)


def _table(table: PaperTable) -> Table:
    labels = [label for block in table.blocks for label in labels_of(block)]
    rows = [row for block in table.blocks for row in block.rows]
    cells = [
        (label.strip(), *(_text(cell, column, row.of) for cell, column in zip(row.cells, table.columns, strict=True)))
        for label, row in zip(labels, rows, strict=True)
    ]
    bold = [
        (at, place)
        for at, row in enumerate(rows)
        for place, cell in enumerate(row.cells, start=1)
        if cell.best or cell.varied
    ]
    begins = accumulate(len(block.rows) for block in table.blocks[:-1])
    return Table(
        title=f"As the paper's table {table.number}: {table.title[:1].lower()}{table.title[1:]}",
        columns=(table.corner or "run", *(column.heading for column in table.columns)),
        rows=cells,
        bold=frozenset(bold),
        breaks=frozenset(begins),
        notes=tuple(_sentences((*table.facts, *table.legend, *table.notes))),
    )


def _text(cell: Cell, column: Column, of: str) -> str:
    text, half = shown(cell, column), half_shown(cell, column)
    return ("" if of == "paper" else "–") if text == "-" else f"{text} ± {half}" if half else text


def _sentences(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        yield text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
