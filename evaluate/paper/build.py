"""From folders to tables."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ...pipeline.errors import ConfigError
from ...pipeline.words import counted
from .checkpoints import checkpoint_rows
from .controls import RANDOM, control_notes
from .evaluated import Evaluated
from .folders import Found, gather
from .groups import Group, Line, Lines, arrange, group_runs
from .layouts import LAYOUTS, Layout
from .notes import facts, legend, missing, recipe_note, settings_of
from .published import KEYS, published_row
from .rows import control_rows, head_row, paper_row, varying, with_best
from .runs import At, PaperRun
from .table import CONTROLS, Block, Column, PaperTable, Row


def paper_tables(
    folders: Sequence[Path],
    *,
    number: int | None = None,
    at: At = "last",
    random_init: Sequence[Path] = (),
    evaluated: Mapping[Path, Evaluated] | None = None,
) -> tuple[PaperTable, ...]:
    """The paper's tables of the runs in some folders, from these folders alone.

    Args:
        folders: run folders, sweep folders, or folders that hold some directly.
        number: one table, which all runs must be of; None: every table that the runs' tasks have.
        at: which validation tables 1-3 show: the ``last``, as the paper's table 3, or each contender's ``best``.
        random_init: runs on an untrained backbone's features; a control of the row with the same settings.
        evaluated: by resolved run folder, controls that an evaluation has just judged; None: what the folders hold.

    Returns:
        tables in the paper's order; :func:`~.render.render` shows one.

    Raises:
        ConfigError: a folder without a run, or runs of a task that table ``number`` is not about.
        VisualThoughtError: a damaged log or ``sweep.json``.
    """
    found, untrained = gather(folders, evaluated), gather(random_init).runs if random_init else ()
    numbers = [n for n, layout in LAYOUTS.items() if any(run.record.task == layout.task for run in found.runs)]
    if number is not None:
        _refuse_others(number, found.runs)
        numbers = [number]
    if not found.runs:
        raise ConfigError(
            "no run has begun in these folders",
            found=[note for sweep in found.sweeps for note in sweep.notes],
            remedy="run the sweep with --resume, then ask again",
        )
    return tuple(_table(n, found, untrained, at) for n in numbers)


def _refuse_others(number: int, runs: Iterable[PaperRun]) -> None:
    if number not in LAYOUTS:
        raise ConfigError(f"the paper has no table {number}", expected=sorted(LAYOUTS))
    task = LAYOUTS[number].task
    others = [f"{run.folder} ({run.record.task})" for run in runs if run.record.task != task]
    if others:
        raise ConfigError(
            f"table {number} is of runs of the task {task}, and some are not",
            found=others,
            expected=f"runs of the task {task} alone",
            remedy="leave these folders out, or leave --number out: every task then gets its own tables",
        )


def _table(number: int, found: Found, untrained: Sequence[PaperRun], at: At) -> PaperTable:
    layout = LAYOUTS[number]
    groups, repeated = group_runs([run for run in found.runs if run.record.task == layout.task])
    blocks = arrange(found, groups)
    chosen = _chosen(blocks, at)
    shown = (chosen,) if number == 4 else groups
    random, lacking = _twin(chosen, [run for run in untrained if run.record.task == layout.task], bool(untrained))
    columns = (*layout.columns, *_extra(layout, number, shown))
    body, notes = _checkpoints(chosen, columns) if number == 4 else (_body(number, blocks, columns, at), ())
    controls_at: At = "last" if number == 4 else at
    controls = control_rows(chosen, random, columns, controls_at)
    filled = (*body, *([Block(CONTROLS, controls)] if controls else []))
    about = control_notes(chosen, controls, controls_at, asked_random=bool(untrained))
    notes = (*notes, *missing(found, shown), *repeated, *lacking, *about, *recipe_note(number, shown, filled))
    return PaperTable(
        number=number,
        task=layout.task,
        title=layout.title,
        facts=facts(shown, chosen, at=None, setting=_setting(chosen)) if number == 4 else facts(shown, chosen, at=at),
        corner=layout.corner,
        columns=columns,
        blocks=filled,
        legend=legend(
            layout.measured,
            filled,
            columns,
            chosen=settings_of(chosen, columns) if len(shown) > 1 else "",
            controls_at=controls_at,
        ),
        notes=tuple(dict.fromkeys(notes)),
    )


def _chosen(blocks: Sequence[Lines], at: At) -> Group:
    """The setting whose controls are shown and whose checkpoints table 4 compares: the last carried, or the best."""
    lines = [line for block in blocks for line in block.lines]
    carried = [line.group for line in lines if line.carried]
    return carried[-1] if carried else max((line.group for line in lines), key=lambda group: group.merit(at))


def _setting(group: Group) -> str:
    seeds = f", {counted(len(group.counted), 'seed')}" if len(group.counted) > 1 else ""
    return f"{settings_of(group, LAYOUTS[3].columns)}, {group.one.steps:,} steps{seeds}"


def _extra(layout: Layout, number: int, groups: Sequence[Group]) -> list[Column]:
    return varying(groups, (*(column.key for column in layout.columns), *KEYS[number]))


def _checkpoints(group: Group, columns: Sequence[Column]) -> tuple[tuple[Block, ...], tuple[str, ...]]:
    rows, notes = checkpoint_rows(group, columns)
    return (Block("", with_best(rows, columns)),), notes


def _body(number: int, blocks: Sequence[Lines], columns: Sequence[Column], at: At) -> tuple[Block, ...]:
    """Table 3 keeps the blocks; tables 1 and 2 are one, and a setting stands in it once."""
    if number == 3:
        return tuple(
            Block(block.name, with_best(tuple(_rows(number, block, columns, at)), columns)) for block in blocks
        )
    lines = {id(line.group): Line(line.group) for block in blocks for line in block.lines}
    merged = Lines("", tuple(sorted(lines.values(), key=lambda line: _order(number, line.group))))
    return (Block("", with_best(tuple(_rows(number, merged, columns, at)), columns)),)


def _rows(number: int, block: Lines, columns: Sequence[Column], at: At) -> Iterator[Row]:
    for place, line in enumerate(block.lines, start=1):
        yield head_row(line, columns, at, str(place) if number == 1 else "")
        paper = published_row(number, line.group.one.config)
        if paper is not None and line.group.finished:
            yield paper_row(paper, columns)


def _order(number: int, group: Group) -> tuple[str, ...] | tuple[float, ...]:
    values = [group.one.config.get(key) for key in KEYS[number]]
    flat = [part for value in values for part in (value if isinstance(value, list) else [value])]
    return tuple(float(value or 0) for value in flat)


def _twin(chosen: Group, untrained: Sequence[PaperRun], asked: bool) -> tuple[Group | None, tuple[str, ...]]:
    """The runs of the chosen setting on an untrained backbone's features."""
    if not asked:
        return None, ()
    same = [run for run in untrained if run.settings == chosen.one.settings]
    if any(run.record.fingerprints == chosen.one.record.fingerprints for run in same):
        raise ConfigError(
            "a run named as a control on an untrained backbone read the same features as the others",
            found=[str(run.folder) for run in same],
            expected="runs on a store extracted with untrained weights",
        )
    groups, _ = group_runs(same)
    if groups:
        return groups[0], ()
    return None, (f"no {RANDOM} row: none of the runs named for it has the settings of {chosen.one.folder}",)
