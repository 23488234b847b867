"""Table 4: one setting at several of its validations."""

from collections.abc import Sequence
from dataclasses import replace

from ...train.sweep.intervals import Interval
from .groups import Group, Line
from .published import published_checkpoint
from .rows import cell_from, head_row, paper_row
from .runs import PaperRun
from .table import Cell, Column, Row

PAPER_STEPS = {"20k": 20_000, "40k": 40_000}
PAPER_LENGTH = 60_000


def checkpoint_rows(group: Group, columns: Sequence[Column]) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """The rows of table 4, the paper's beside them, and notes of what is missing or stands somewhere else."""
    wanted = wanted_steps(group.one.steps)
    rows, notes = [], []
    for label, step in wanted.items():
        row, missing = _at_step(group, label, step, columns)
        rows.append(row)
        notes += missing
    rows += [_at_best(group, columns), _at_last(group, columns)]
    told = []
    for row, label in zip(rows, (*wanted, "best", "last"), strict=True):
        paper = published_checkpoint(label, group.one.config) if group.finished else None
        told += [row, *([paper_row(paper, columns)] if paper else [])]
    if set(wanted) != set(PAPER_STEPS):
        notes.insert(0, f"{group.one.steps:,} steps: their thirds stand where the paper has 20k and 40k of 60k")
    return tuple(told), tuple(notes)


def wanted_steps(total: int) -> dict[str, int]:
    """The paper's steps of a run that is at least as long as its own; the thirds of a shorter one."""
    if total >= PAPER_LENGTH:
        return PAPER_STEPS
    return {"1/3": round(total / 3), "2/3": round(2 * total / 3)}


def _at_step(group: Group, label: str, wanted: int, columns: Sequence[Column]) -> tuple[Row, list[str]]:
    steps = [_nearest(run, wanted) for run in group.counted]
    row = _row(group, label, steps, columns)
    known = sorted({step for step in steps if step is not None})
    if not known:
        return row, [f"{label}: no run has got to step {wanted:,}"]
    return row, [] if known == [wanted] else [f"{label}: the validation nearest to step {wanted:,} is {_steps(known)}"]


def _at_best(group: Group, columns: Sequence[Column]) -> Row:
    return _row(group, "best", [run.step_at("best") for run in group.counted], columns)


def _at_last(group: Group, columns: Sequence[Column]) -> Row:
    steps = [run.reached for run in group.counted]
    total = group.one.steps
    whole = group.finished and total % 1000 == 0 and set(steps) == {total}
    return _row(group, f"{total // 1000}k" if whole and total >= PAPER_LENGTH else "last", steps, columns)


def _nearest(run: PaperRun, wanted: int) -> int | None:
    """The validation nearest to a step; None before the run got there."""
    steps = run.log.steps()
    if not steps or (not run.finished and steps[-1] < wanted):
        return None
    return min(steps, key=lambda step: (abs(step - wanted), step))


def _row(group: Group, label: str, steps: Sequence[int | None], columns: Sequence[Column]) -> Row:
    cells = []
    for column in columns:
        if column.key == "step":
            known = sorted({step for step in steps if step is not None})
            cells.append(Cell(_steps(known) if known else None, values=tuple(steps)))
        else:
            cells.append(_measured(group, column, steps))
    row = head_row(Line(group), columns, "last", label)
    return replace(row, cells=tuple(cells), controls={})


def _measured(group: Group, column: Column, steps: Sequence[int | None]) -> Cell:
    split, _, metric = column.key.partition(".")
    pairs = zip(group.counted, steps, strict=True)
    return cell_from(
        Interval.of([None if step is None else run.log.number("head", split, step, metric) for run, step in pairs])
    )


def _steps(known: Sequence[int]) -> str:
    return f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,}–{known[-1]:,}"
