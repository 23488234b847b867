"""What is said around a table: what all rows share, what its marks mean, and what is missing."""

from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from ...pipeline.words import counted
from .digits import shown
from .folders import Found
from .groups import Group
from .published import SOURCE, differing
from .runs import At, PaperRun
from .sweeps import PaperSweep
from .table import CONTROLS, Block, Cell, Column, Row

NAMED = 4


def facts(groups: Sequence[Group], chosen: Group, *, at: At | None, setting: str = "") -> tuple[str, ...]:
    """Data, split and checkpoint of all rows, and the setting if it is one."""
    runs = [run for group in groups for run in group.runs]
    names = dict.fromkeys(_dataset(run.record.manifest) for run in runs)
    said = [f"data: {' and '.join(names)}, {_split(chosen)}"]
    if at is not None:
        lengths = sorted({run.steps for run in runs})
        which = "last validation" if at == "last" else "best validation of each contender"
        steps = f"{lengths[0]:,}" if len(lengths) == 1 else f"{lengths[0]:,} to {lengths[-1]:,}"
        said.append(f"{which} of {steps} steps")
    return (*said, *([f"row: {setting}"] if setting else []))


def legend(
    measured: str, blocks: Sequence[Block], columns: Sequence[Column], *, chosen: str, controls_at: At
) -> tuple[str, ...]:
    """The marks that the table uses, and no other; which row its controls are of, and of which validation."""
    rows = [row for block in blocks for row in block.rows]
    cells = [cell for row in rows for cell in row.cells]
    said = [measured]
    if any(row.carried for row in rows):
        said.append("→ carried on to the next block, which need not be the best row")
    if any(cell.best for cell in cells):
        said.append("the best of each block is marked")
    if any(cell.half is not None for cell in cells):
        said.append(f"mean and 95% interval (Student's t) over {_seeds(rows)} seeds")
    if any(row.of == "paper" for row in rows):
        said.append(f"paper: {SOURCE}, whose data are its own")
    if blocks[-1].name == CONTROLS:
        row = f"those of the row {chosen}, " if chosen else ""
        said.append(f"controls: {row}each at its own {controls_at} validation")
    if any(column.key.startswith("origin.") for column in columns):
        said.append("data: hash of labels and split; z, r, e, y: fingerprints of the features, eight digits of each")
    return tuple(said)


def settings_of(group: Group, columns: Sequence[Column]) -> str:
    """The settings that a row shows, in words: ``Layers 4, Dim. 768``."""
    values = {column: group.one.config.get(column.key) for column in columns}
    return ", ".join(f"{c.heading} {shown(Cell(value), c)}" for c, value in values.items() if value is not None)


def missing(found: Found, groups: Sequence[Group]) -> tuple[str, ...]:
    """Everything that keeps the rows from being whole."""
    ours = {run.folder.resolve() for group in groups for run in group.runs}
    listed = [note for sweep in found.sweeps if _reaches(sweep, ours) for note in sweep.notes]
    unfinished = _unfinished([run for group in groups for run in group.runs if not run.finished])
    return (*listed, *unfinished, *(note for group in groups for note in _left_out(group)))


def recipe_note(number: int, groups: Sequence[Group], blocks: Sequence[Block]) -> tuple[str, ...]:
    """Why the paper's numbers do not stand in a table."""
    if any(row.of == "paper" for block in blocks for row in block.rows):
        return ()
    fewest = min((differing(number, group.one.config) for group in groups), key=len)
    if not fewest:
        return ("the paper's recipe, but none of its rows has these settings, or they are not finished",)
    config = next(group.one.config for group in groups if differing(number, group.one.config) == fewest)
    named = [f"{s.key} {_plain(config.get(s.key))} (there {_plain(s.value)})" for s in fewest[:NAMED]]
    more = f" and {len(fewest) - NAMED} more" if len(fewest) > NAMED else ""
    return (f"the paper's numbers are left out, because the recipe is another: {', '.join(named)}{more}",)


def _dataset(manifest: object) -> str:
    said = dict(manifest)  # type: ignore[call-overload]  # a mapping, as the record holds it
    return f"{said['name']}{' (SIMULATED)' if said.get('simulated') else ''}"


def _split(group: Group) -> str:
    run = group.one
    val = run.record.splits.get("val", {})
    told = f"validation split of {len(val.get('episodes', ()))} episodes, {val.get('examples', 0):,} examples"
    step = run.reached
    counts = [None if step is None else run.log.number("head", "val", step, name) for name in ("tp", "fn")]
    known = [count for count in counts if count is not None]
    return f"{told}, {int(sum(known)):,} positive cells" if len(known) == 2 else told


def _seeds(rows: Sequence[Row]) -> str:
    counts = sorted({len(row.runs) for row in rows if row.of == "head" and len(row.runs) > 1})
    return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _unfinished(runs: Sequence[PaperRun]) -> Iterator[str]:
    """One note for all runs that stand at the same step."""
    for reached, steps in sorted({(run.reached or 0, run.steps) for run in runs}):
        folders = [run.folder for run in runs if (run.reached or 0, run.steps) == (reached, steps)]
        more = f" and {counted(len(folders) - 1, 'other')}" if len(folders) > 1 else ""
        stand = "stand" if more else "stands"
        where = f"at step {reached:,} of {steps:,}" if reached else f"before the first validation, of {steps:,} steps"
        yield f"{folders[0]}{more} {stand} {where}: not finished, so never the best of a block"


def _left_out(group: Group) -> Iterator[str]:
    if group.finished and len(group.counted) < len(group.runs):
        some = f"{len(group.counted)} of {len(group.runs)} seeds"
        yield f"{group.counted[0].folder.parent}: numbers are of the {some} that are finished"
    for run in (run for run in group.counted if not run.sizes):
        yield f"{run.folder} has no readable checkpoint: its parameters are not known"


def _reaches(sweep: PaperSweep, folders: Container[Path]) -> bool:
    return any(run.resolve() in folders for runs in sweep.runs.values() for run in runs)


def _plain(value: object) -> str:
    return shown(Cell(value), Column("", "", "rate"))
