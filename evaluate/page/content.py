"""What a page says, before it is HTML: plain text, tables and pictures. Nothing here is ever markup."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

_WORD = re.compile(r"[^\W\d_]+")
_LONGEST_UNIT, _LONGEST_NUMBER = 3, 32
NOTHING = ("", "-", "–", "—")
"""Cells that say that there is nothing to say."""


class Number(NamedTuple):
    """One number of the summary: what it is, its value as it is to be read, and a few words under it."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the first column names the rows.

    Args:
        title: its heading.
        columns: one heading a column.
        rows: cells as they are to be read, as many a row as there are columns.
        bold: (row, column) of the cells that stand out, such as the best of a block.
        breaks: rows above which a line is drawn, such as the first of a block.
        notes: sentences under the table.

    Raises:
        ValueError: a row is not as long as the columns are many, or a bold cell is not there.
    """

    kind: ClassVar[str] = "table"
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    bold: frozenset[tuple[int, int]] = frozenset()
    breaks: frozenset[int] = frozenset()
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"the rows of {self.title!r} are not as long as its {len(self.columns)} columns")
        if any(not (0 <= row < len(self.rows) and 0 <= column < len(self.columns)) for row, column in self.bold):
            raise ValueError(f"{self.title!r} has no such cell as one of its bold ones")

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Of each column, whether it holds numbers alone and is set flush right."""
        return tuple(column > 0 and self._holds_numbers(column) for column in range(len(self.columns)))

    def _holds_numbers(self, column: int) -> bool:
        told = [row[column] for row in self.rows if row[column] not in NOTHING]
        return bool(told) and all(map(is_number, told))


@dataclass(frozen=True)
class Figure:
    """A picture.

    Args:
        title: its heading.
        png: the PNG file's path, or its bytes.
        caption: what there is to see, and where it comes from.
        alt: the same for somebody who cannot see it.
    """

    kind: ClassVar[str] = "figure"
    title: str
    png: Path | bytes
    caption: str
    alt: str


class Fact(NamedTuple):
    """A name and what it stands for; ``exact`` where every character counts, as in a fingerprint."""

    label: str
    value: str
    exact: bool = False


@dataclass(frozen=True)
class Facts:
    """A list of facts under a heading, and sentences under it."""

    kind: ClassVar[str] = "facts"
    title: str
    facts: Sequence[Fact]
    notes: Sequence[str] = ()


class Command(NamedTuple):
    """What a command is for, and the line to type."""

    purpose: str
    line: str


@dataclass(frozen=True)
class Commands:
    """Commands under a heading, in the order in which they are typed."""

    kind: ClassVar[str] = "commands"
    title: str
    commands: Sequence[Command]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Details:
    """A long text, folded away until somebody opens it.

    Args:
        title: its heading.
        summary: what stands there while it is folded.
        text: shown as it is, line by line.
    """

    kind: ClassVar[str] = "details"
    title: str
    summary: str
    text: str


type Item = Table | Figure | Facts | Commands | Details


@dataclass(frozen=True)
class Page:
    """A whole report. Every text is shown as it is; sections without items are left out.

    Args:
        title: the page's name.
        subtitle: a sentence or two: what was judged, on what.
        summary: the few numbers that matter most.
        tables: the results.
        figures: the pictures.
        failures: where it goes wrong.
        cost: seconds, bytes, energy.
        provenance: what everything was made from, and how to make it again.
        missing: sentences about what this report could not say and why.
        simulated: whether the frames come from a simulation, which is then said at the top.
    """

    title: str
    subtitle: str
    summary: Sequence[Number] = ()
    tables: Sequence[Item] = ()
    figures: Sequence[Item] = ()
    failures: Sequence[Item] = ()
    cost: Sequence[Item] = ()
    provenance: Sequence[Item] = ()
    missing: Sequence[str] = ()
    simulated: bool = False


def is_number(text: str) -> bool:
    """Whether a cell is a number with its sign, spread and units: ``0.93 ± 0.01``, ``2 min 5 s``, ``12.4%``."""
    begins = text[:1].isdigit() or (text[:1] in "+-−<>≤≥~±[(" and text[1:2].isdigit())
    words = _WORD.findall(text) if len(text) <= _LONGEST_NUMBER else [text]
    return begins and all(len(word) <= _LONGEST_UNIT for word in words)
