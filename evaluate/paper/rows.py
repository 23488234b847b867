"""From settings to rows: numbers, the paper's beside them, the best of each block, and the controls."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...train.sweep.intervals import Interval
from .controls import RANDOM
from .evaluated import UNTRAINED
from .groups import Group, Line
from .published import Published
from .runs import At
from .sizes import CLOSED_FORM, sizes
from .table import Cell, Column, Row

SAME_MODEL = ("instruction_blind", "random_init")
"""Controls that have the head's own architecture, so that a row's settings are theirs too."""


def head_row(line: Line, columns: Sequence[Column], at: At, label: str = "") -> Row:
    """A setting's own row, with the numbers of its controls for whoever wants them all."""
    group = line.group
    cells = tuple(replace(cell_of(group, column, at), varied=column.key in line.varied) for column in columns)
    measured = [column for column in columns if _is_measured(column)]
    controls = {
        name: {column.key: control_cell(group, name, column, at) for column in measured} for name in controls_of(group)
    }
    folders = tuple(str(run.folder) for run in group.counted)
    return Row(label, "head", cells, line.carried, group.finished, folders, controls)


def cell_of(group: Group, column: Column, at: At) -> Cell:
    """What stands in a column of a setting's row."""
    kind, _, name = column.key.partition(".")
    if _is_measured(column):
        return cell_from(group.interval(column.key, at))
    if kind == "size":
        return Cell(next((run.sizes[name] for run in group.runs if run.sizes), None))
    if kind == "origin":
        return Cell(group.one.origin.get(name))
    return Cell(group.one.config.get(column.key))


def cell_from(interval: Interval) -> Cell:
    """A mean over seeds."""
    return Cell(interval.mean, interval.half, interval.values)


def paper_row(row: Published, columns: Sequence[Column]) -> Row:
    """What the paper prints for the same setting."""
    return Row("paper", "paper", tuple(Cell(row.values.get(column.key)) for column in columns))


def with_best(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[Row, ...]:
    """Mark the best value of every column among our own finished rows, if there are two to choose from."""
    marked = list(rows)
    ranked = [number for number, row in enumerate(rows) if row.of == "head" and row.finished]
    for place, column in enumerate(columns):
        values = {number: rows[number].cells[place].value for number in ranked}
        known = {number: value for number, value in values.items() if value is not None}
        if column.better and len(known) > 1:
            best = (min if column.better == "lower" else max)(known.values())
            for number in (number for number, value in known.items() if value == best):
                marked[number] = _marked(marked[number], place)
    return tuple(marked)


def controls_of(group: Group) -> tuple[str, ...]:
    """The controls of a setting: trained ones first, then those an evaluation added."""
    trained = tuple(name for name in group.contenders if name != "head")
    added = (name for name in UNTRAINED if name not in trained and any(run.evaluated.get(name) for run in group.runs))
    return (*trained, *added)


def control_rows(group: Group, random: Group | None, columns: Sequence[Column], at: At) -> tuple[Row, ...]:
    """A row for each control of a setting, and one for the same head on an untrained backbone."""
    rows = [_control_row(group, name, columns, at) for name in controls_of(group)]
    if random is not None:
        row = head_row(Line(random), columns, at, RANDOM)
        rows.append(replace(row, of="control", controls={}))
    return tuple(rows)


def control_cell(group: Group, name: str, column: Column, at: At) -> Cell:
    """A control's number over the seeds, without an interval where it is the same for all of them."""
    if column.key == "val.loss" and not group.same_objective(name):
        return Cell()
    if group.logs(name):
        found = cell_from(group.interval(column.key, at, name))
    else:
        found = cell_from(Interval.of([run.evaluated.get(name, {}).get(column.key) for run in group.counted]))
    return replace(found, half=None) if name in CLOSED_FORM and column.key.startswith("val.") else found


def varying(groups: Iterable[Group], known: Sequence[str]) -> list[Column]:
    """Columns for whatever else tells settings apart."""
    ours = list(groups)
    settings, origins = ([_texts(group, of) for group in ours] for of in ("settings", "origin"))
    keys = [key for key in _differing(settings) if key not in known and key != "decoder.num_queries"]
    columns = [Column(key, _heading(key), "rate") for key in keys]
    told = _differing(origins)
    named = [name for name in told if name != "data" or "dataset" not in told]
    return columns + [Column(f"origin.{name}", name, "text") for name in named]


def _heading(key: str) -> str:
    """The key's last part where that says what it is; ``head.dim`` and ``scheduler.name`` stay whole."""
    group, _, last = key.rpartition(".")
    return last if group in ("", "decoder", "optimizer", "objective") else key


def _control_row(group: Group, name: str, columns: Sequence[Column], at: At) -> Row:
    sized = sizes(group.one.folder, name)
    cells = []
    for column in columns:
        kind, _, part = column.key.partition(".")
        if _is_measured(column):
            cells.append(control_cell(group, name, column, at))
        elif kind == "size":
            cells.append(Cell(sized.get(part)))
        else:
            alike = kind == "origin" or (name in SAME_MODEL and kind != "step")
            cells.append(cell_of(group, column, at) if alike else Cell(""))
    folders = tuple(str(run.folder) for run in group.counted)
    return Row(name, "control", tuple(cells), finished=group.finished, runs=folders)


def _is_measured(column: Column) -> bool:
    return column.key.startswith(("val.", "train."))


def _marked(row: Row, place: int) -> Row:
    cells = (*row.cells[:place], replace(row.cells[place], best=True), *row.cells[place + 1 :])
    return replace(row, cells=cells)


def _texts(group: Group, of: str) -> Mapping[str, str]:
    values: Mapping[str, Any] = getattr(group.one, of)
    return {key: str(value) for key, value in values.items()}


def _differing(settings: Sequence[Mapping[str, str]]) -> list[str]:
    keys = dict.fromkeys(key for one in settings for key in one)
    return [key for key in keys if len({one.get(key) for one in settings}) > 1]
