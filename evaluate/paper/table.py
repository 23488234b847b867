"""A table before it is rendered: columns, blocks of rows, and what has to be said under it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

CONTROLS = "Controls"
"""The name of the block that holds them."""

type Kind = Literal["text", "whole", "rate", "share", "count", "millions", "fixed3", "fixed4"]
type Better = Literal["", "lower", "higher"]
type Of = Literal["head", "control", "paper"]


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        key: what stands in it: a config key, ``val.`` or ``train.`` and a metric, ``size.`` and a part, ``step``, or
            ``origin.`` and a name.
        heading: in plain text.
        kind: how its values are written.
        better: which values are the best of a block; empty for a column without best ones.
        latex: the heading in LaTeX, where plain text does not do.
    """

    key: str
    heading: str
    kind: Kind
    better: Better = ""
    latex: str | None = None


@dataclass(frozen=True)
class Cell:
    """One value.

    Args:
        value: a number, a text or a list; None where there is none.
        half: half the 95% interval over seeds; None for one seed.
        values: one a seed.
        best: whether it is the best of its block.
        varied: whether it is the setting that its block varies.
    """

    value: Any = None
    half: float | None = None
    values: tuple[float | None, ...] = ()
    best: bool = False
    varied: bool = False


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        label: its name, where the block's does not do.
        of: whose numbers: our ``head``, a ``control``, or the ``paper``.
        cells: one a column.
        carried: whether the next block goes on with this setting.
        finished: whether its numbers are of finished runs.
        runs: the folders behind it.
        controls: control -> column key -> its numbers in this row's runs.
    """

    label: str
    of: Of
    cells: tuple[Cell, ...]
    carried: bool = False
    finished: bool = True
    runs: tuple[str, ...] = ()
    controls: Mapping[str, Mapping[str, Cell]] = field(default_factory=dict)


@dataclass(frozen=True)
class Block:
    """Rows between two rules; the best of each column is looked for among them."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class PaperTable:
    """One of the paper's tables, of our runs.

    Args:
        number: the paper's.
        task: of the runs.
        title: what it shows.
        facts: what all rows share: data, split, checkpoint.
        corner: heading of the rows' names.
        columns: left to right.
        blocks: top to bottom; the last may hold controls.
        legend: what its marks mean.
        notes: what is missing from it, and why.
    """

    number: int
    task: str
    title: str
    facts: tuple[str, ...]
    corner: str
    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    legend: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data: every row with its values by column key, means and intervals unrounded."""
        keys = [column.key for column in self.columns]
        blocks = [{"name": block.name, "rows": [_row_json(row, keys) for row in block.rows]} for block in self.blocks]
        told = {name: getattr(self, name) for name in ("number", "task", "title")}
        told |= {name: list(getattr(self, name)) for name in ("facts", "legend", "notes")}
        return told | {"columns": [asdict(column) for column in self.columns], "blocks": blocks}


def _row_json(row: Row, keys: list[str]) -> dict[str, Any]:
    controls = {
        name: {key: _cell_json(cell) for key, cell in numbers.items()} for name, numbers in row.controls.items()
    }
    told = {"label": row.label, "of": row.of, "carried": row.carried, "finished": row.finished, "runs": list(row.runs)}
    return told | {
        "cells": {key: _cell_json(cell) for key, cell in zip(keys, row.cells, strict=True)},
        "controls": controls,
    }


def _cell_json(cell: Cell) -> dict[str, Any]:
    return asdict(cell) | {"values": list(cell.values)}
