"""The page of an evaluation's report."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ...pipeline.errors import VisualThoughtError
from ...pipeline.metrics.grounding import f_score, precision, recall
from ...pipeline.record import RunRecord, read_record
from ...pipeline.words import counted
from ..report import ContenderReport, Report, RunReport
from ..scores import Scores
from ..tables import COLUMNS, COUNTED, LEGEND, POINTS, Column
from .content import NOTHING, Fact, Facts, Figure, Item, Number, Page, Table
from .cost import UNKNOWN, Cost, Extraction, cost_of, readable_seconds, size
from .provenance import provenance_of

HIGHER = frozenset({"F 0.25", "precision", "recall", "hit"})
LOWER = frozenset({"error px"})
"""Columns whose best cell is bold. Of false positives, misses and alarms a silent head has none, so none is bold."""
WORST = 5
PICTURES = {
    "threshold_sweep": (
        "Cell decisions by threshold",
        "Two charts: precision, recall and F 0.25 of the head by decision threshold; precision over recall of the head "
        "and its controls.",
    ),
    "grounding_two_views": (
        "One moment before the grasp, every camera",
        "The same moment from every camera, each frame with the head's cell scores, refined sub-cell, predicted point "
        "and the target's true region.",
    ),
    "grounding_before_after": (
        "Before and after the grasp",
        "One execution before and after its grasp, each frame with the head's cell scores, predicted point and the "
        "target's true region.",
    ),
    "grounding_two_executions": (
        "Two executions after the grasp",
        "A frame of each of two episodes after the grasp, with the head's cell scores, predicted point and the "
        "target's true region.",
    ),
    "grounding_typical": (
        "A typical positive and a typical negative",
        "The positive and the negative row of median score, with the head's cell scores and predicted points.",
    ),
}
"""Pictures by the name of their file: their heading, and what there is to see."""
NOTE = LEGEND.replace(" -: ", " –: ")
SECONDS = (
    "Seconds of extraction are those that decoding and forward passes took, summed over workers and shared out over "
    "the rows that came of them; loading weights and writing files are not in them. Training is the wall-clock time "
    "of the loop, validations included, the last one not; head and controls learn in the same pass."
)


def page_of(report: Report) -> Page:
    """Everything a report and its run folders say, as a page; what cannot be found out is said to be missing."""
    several, missing = len(report.runs) > 1, [*_missing(report)]
    tables: list[Item] = [_overview(report)] if several else []
    figures: list[Item] = []
    failures: list[Item] = []
    cost: list[Item] = []
    provenance: list[Item] = []
    for run in report.runs:
        tables += _named(_tables(run), run, several)
        pictures = [_figure(report.out, run, name) for name in run.figures]
        figures += _named((one for one in pictures if not _is_failure(one)), run, several)
        failures += _named([*_weakest(run), *filter(_is_failure, pictures)], run, several)
        record = _record(run, missing)
        if record is not None:
            spent = cost_of(run.path, record, run.store, run.features)
            missing += [f"{run.run}: {line}" if several else line for line in spent.missing]
            cost += _named(cost_items(spent), run, several)
            provenance += _named(provenance_of(run, record, report.out), run, several)
    return Page(
        title=f"{len(report.runs)} runs" if several else report.runs[0].run,
        subtitle=_subtitle(report),
        summary=[_headline(run) for run in report.runs[:6]] if several else [*_summary(report.runs[0])],
        tables=tables,
        figures=figures,
        failures=failures,
        cost=cost,
        provenance=provenance,
        missing=missing,
        simulated=any(run.simulated for run in report.runs),
    )


def cost_items(cost: Cost) -> tuple[Item, ...]:
    """What a run cost, as a table of stages and a list of what they read."""
    training = cost.training
    rows = [_extraction_row(one) for one in cost.extractions]
    spent = UNKNOWN if training.seconds is None else readable_seconds(training.seconds)
    examples = f"{training.examples:,}"
    rows.append((f"train, {training.steps:,} steps", spent, examples, size(training.bytes), training.device))
    table = Table("Seconds and bytes", ("stage", "time", "rows", "on disk", "device"), rows, notes=(SECONDS,))
    facts = [
        Fact("drawn in training", _drawn(cost)),
        Fact("energy", f"{UNKNOWN}: no meter was read while extracting or training"),
    ]
    return table, Facts("Bytes read and energy", facts)


def _extraction_row(one: Extraction) -> tuple[str, ...]:
    spent = readable_seconds(sum(one.seconds.values())) if one.seconds else UNKNOWN
    if one.seconds and one.told_rows < one.rows:
        spent = f"> {spent}"
    return f"extract {one.feature}", spent, f"{one.rows:,}", size(one.bytes), ", ".join(one.devices) or UNKNOWN


def _drawn(cost: Cost) -> str:
    drawn = cost.drawn_bytes
    if drawn is None:
        return UNKNOWN
    return f"{size(drawn)} of features as stored; what fits into memory is read from the disk once"


def _record(run: RunReport, missing: list[str]) -> RunRecord | None:
    try:
        return read_record(run.path / "run.json")
    except VisualThoughtError as error:
        missing.append(f"cost and provenance of {run.run}: {error.problem}")
        return None


def _missing(report: Report) -> Iterator[str]:
    several = len(report.runs) > 1
    for run in report.runs:
        for note in run.notes:
            yield f"{run.run}: {note}" if several else note
        if not run.figures and not any("picture" in note for note in run.notes):
            yield f"figures{f' of {run.run}' if several else ''}: none were drawn"


def _named(items: Iterable[Item], run: RunReport, several: bool) -> list[Item]:
    return [replace(item, title=f"{item.title}, {run.run}") if several else item for item in items]


def _subtitle(report: Report) -> str:
    if len(report.runs) > 1:
        return "Heads side by side: " + "; ".join(f"{run.run} on {run.split} of {run.dataset}" for run in report.runs)
    run = report.runs[0]
    scores = run.head.scores
    return (
        f"Judged on the {run.split} split of {run.dataset}: {scores.rows:,} rows "
        f"({scores.rows - scores.negative_rows:,} positive, {scores.negative_rows:,} negative) of "
        f"{counted(run.episodes, 'episode')}. Checkpoint {run.checkpoint}, step {run.step:,}."
    )


def _summary(run: RunReport) -> Iterator[Number]:
    scores, shown = run.head.scores, {column.heading: column.value(run.head.scores) for column in COLUMNS}
    yield Number("F 0.25", shown["F 0.25"], f"precision {shown['precision']}, recall {shown['recall']}")
    if run.contenders[1:]:
        best = max(run.contenders[1:], key=lambda contender: f_score(contender.scores.counts))
        yield Number("Best control", f"{f_score(best.scores.counts):.3f}", f"F 0.25 of {_words(best.name)}")
    yield Number("Points on target", shown["hit"], f"of {scores.hit_rows:,} positive rows")
    yield Number("Point error", f"{shown['error px']} px", "median, original pixels")
    yield Number("False alarms", shown["false alarm"], f"of {scores.negative_rows:,} negative rows")


def _headline(run: RunReport) -> Number:
    counts = run.head.scores.counts
    told = f"F 0.25; precision {precision(counts):.3f}, recall {recall(counts):.3f}"
    return Number(run.run, f"{f_score(counts):.3f}", told)


def _overview(report: Report) -> Table:
    rows = [(run.run, run.head.scores) for run in report.runs]
    return _table("Runs side by side", "run", rows, COUNTED, notes=(NOTE,))


def _tables(run: RunReport) -> Iterator[Table]:
    rows = [(_label(one, run), one.scores) for one in run.contenders]
    yield _table(f"Head and controls on {run.split}", "contender", rows, COLUMNS, notes=(NOTE,))
    val = [(_words(one.name), one.val) for one in run.contenders if one.val]
    if val:
        yield _table("The same on val", "contender", val, COLUMNS, notes=("The best checkpoint was chosen on val.",))
    for by, groups in run.head.groups.items():
        yield _table(f"Head by {by}", by, list(groups.items()), COUNTED, best=False)
    ceiling = list(run.ceiling.items())
    note = "What a head with perfect cell decisions would reach: the grid alone sets it."
    yield _table("Perfect cells", "point", ceiling, POINTS[:2], notes=(note,), best=False)


def _weakest(run: RunReport) -> Iterator[Table]:
    """The groups below the whole, lowest F 0.25 first; only such as hold a target."""
    whole = f_score(run.head.scores.counts)
    groups = [
        (f"{by}: {name}", scores)
        for by, found in run.head.groups.items()
        for name, scores in found.items()
        if scores.counts.positives and f_score(scores.counts) < whole
    ]
    weakest = sorted(groups, key=lambda group: f_score(group[1].counts))[:WORST]
    if weakest:
        note = f"Groups of rows whose F 0.25 lies below the {whole:.3f} of all rows, at most {WORST}, the lowest first."
        yield _table("Where the head is weakest", "group", weakest, COUNTED, notes=(note,), best=False)


def _table(
    title: str,
    first: str,
    rows: Sequence[tuple[str, Scores]],
    columns: Sequence[Column],
    *,
    notes: Sequence[str] = (),
    best: bool = True,
) -> Table:
    cells = [(name, *(_grouped(column.value(scores)) for column in columns)) for name, scores in rows]
    headings = (first, *(column.heading for column in columns))
    bold = frozenset(_best(headings, cells)) if best and len(cells) > 1 else frozenset()
    return Table(title, headings, cells, bold=bold, notes=notes)


def _best(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> Iterator[tuple[int, int]]:
    """The best cells, compared as they are printed: what looks the same is equally good."""
    for column, heading in enumerate(headings):
        if heading in HIGHER | LOWER:
            values = {
                row: float(line[column].replace(",", "").rstrip("%"))
                for row, line in enumerate(cells)
                if line[column] not in NOTHING
            }
            goal = (max if heading in HIGHER else min)(values.values(), default=None)
            yield from ((row, column) for row, value in values.items() if value == goal)


def _label(one: ContenderReport, run: RunReport) -> str:
    own = "" if one.threshold == run.head.threshold else f" @{one.threshold:.2f}"
    return _words(one.name) + own


def _figure(out: Path, run: RunReport, name: str) -> Figure:
    stem = Path(name).stem
    usual = _words(stem).capitalize(), "A picture whose words and numbers are drawn into it."
    title, alt = PICTURES.get(stem, usual)
    origin = (
        f"{run.split.capitalize()} split of {run.dataset}; checkpoint {run.checkpoint} of {run.run}, step {run.step:,}."
    )
    return Figure(title, out / name, origin, f"{alt} {origin}")


def _is_failure(item: Item) -> bool:
    return any(word in item.title.lower() for word in ("fail", "worst", "false"))


def _grouped(text: str) -> str:
    """A whole number with its thousands apart; what was not measured as a dash."""
    return f"{int(text):,}" if text.isdecimal() else "–" if text == "-" else text


def _words(name: str) -> str:
    return name.replace("_", " ")
