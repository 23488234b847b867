"""A report's numbers as tables of the page, whatever the task; what is good, and where it is weak."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..across import Comparison, OverSeeds
from ..decimals import decimals, fitted
from ..layouts import FINDINGS, LAYOUTS, Column, Numbers
from ..legends import findings_legend
from ..report import ContenderReport, Report, RunReport, Scores
from ..tallies import COMPARED
from .content import NOTHING, Table

WORST = 5
PERFECT = "What a head with perfect cell decisions would reach: the grid alone sets it."
COMPARED_BY = (
    "The heads by a paired bootstrap that draws whole episodes; the interval holds the difference, second minus first, "
    "in 95% of the draws; p: two-sided; better here: the run that is, where the difference is clear, its "
    "interval without 0."
)
CHOSEN = "The best checkpoint was chosen on val."

type Row = tuple[str, Numbers]


def results_of(run: RunReport) -> Iterator[Table]:
    """Head and controls on the split and on val, what was found about views and phases, groups, and the ceiling."""
    layout, contenders = LAYOUTS[run.task], run.contenders
    note = _legend(layout.legend)
    rows = [row for one in contenders for row in rows_of(one, run)]
    steps = (f"Steps of the checkpoints: {words(run.steps)}.",) if run.steps else ()
    yield _table(f"Head and controls on {run.split}", "contender", rows, layout.columns, notes=(note, *steps))
    val = [(words(one.name), one.val.to_json()) for one in contenders if one.val]
    if val:
        yield _table("The same on val", "contender", val, layout.columns, notes=(CHOSEN,))
    found = [(words(one.name), one.findings.numbers()) for one in contenders if one.findings]
    if found:
        title = "Calibration, views and phases"
        yield _table(
            title, "contender", found, FINDINGS, notes=(f"{words(findings_legend([run]))} –: nothing to measure.",)
        )
    if run.head.findings:
        yield _calibration(run.head)
    for by, groups in run.head.groups.items():
        yield _table(f"Head by {by}", by, _plain(groups), layout.counted, best=False)
    if run.ceiling:
        yield _table("Perfect cells", "point", _plain(run.ceiling), layout.ceiling, notes=(PERFECT,), best=False)


def overviews_of(report: Report) -> Iterator[Table]:
    """Heads side by side, a table a task; then seeds together, and the comparison."""
    tasks = dict.fromkeys(run.task for run in report.runs)
    for task in tasks:
        rows = [(run.run, run.head.scores.to_json()) for run in report.runs if run.task == task]
        title = "Runs side by side" if len(tasks) == 1 else f"Runs side by side, {task}"
        layout = LAYOUTS[task]
        yield _table(title, "run", rows, layout.counted, notes=(_legend(layout.legend),))
    for number, seeds in enumerate(report.seeds, start=1):
        yield _seeds(seeds, f" ({number})" if len(report.seeds) > 1 else "")
    if report.comparison:
        yield _comparison(report.comparison, report.runs[0].task)


def weakest(run: RunReport) -> Iterator[Table]:
    """The groups that are worse than the whole in the headline, the worst first."""
    layout = LAYOUTS[run.task]
    first = layout.headline
    whole = first.number(run.head.scores.to_json())
    groups = [
        (value, f"{by}: {name}", scores.to_json())
        for by, found in run.head.groups.items()
        for name, scores in found.items()
        if (value := first.number(scores.to_json())) is not None
        if whole is not None and first.sign * value < first.sign * whole
    ]
    worst = sorted(groups, key=lambda group: first.sign * group[0])[:WORST]
    if worst and whole is not None:
        note = f"At most {WORST} groups of rows whose {first.heading} is worse than the {whole:{first.form}} of all "
        note += "rows, the worst first."
        rows = [(name, numbers) for _, name, numbers in worst]
        title = "Where the head is weakest"
        yield _table(title, "group", rows, layout.counted, notes=(note,), best=False)


def rows_of(one: ContenderReport, run: RunReport) -> Iterator[Row]:
    """A contender; a control once more at a threshold of its own."""
    yield _label(one, run), one.scores.to_json()
    if one.own and one is not run.head:
        yield f"{words(one.name)} @{one.own.threshold:.2f}", one.own.scores.to_json()


def words(name: str) -> str:
    """A contender's or a file's name as words."""
    return name.replace("_", " ")


def shown(column: Column, numbers: Numbers) -> str:
    """A value; a whole number with its thousands apart, what was not measured as a dash."""
    text = column.value(numbers)
    return f"{int(text):,}" if text.isdecimal() else "–" if text in NOTHING else text


def _calibration(head: ContenderReport) -> Table:
    """The bins behind the calibration's picture."""
    assert head.findings is not None, "asked for by who has them"
    rows = [
        (f"{one.low:.1f}–{one.high:.1f}", f"{one.cells:,}", f"{one.score:.3f}", f"{one.frequency:.3f}")
        for one in head.findings.calibration.bins
        if one.cells
    ]
    return Table("Calibration of the head", ("score", "cells", "mean score", "share relevant"), rows)


def _seeds(found: OverSeeds, which: str) -> Table:
    first = next(iter(found.intervals.values()))
    means = [{key: interval.mean for key, interval in values.items()} for values in found.intervals.values()]
    columns = [c for c in fitted(LAYOUTS[found.task].columns, means) if c.key in first and c.form != "d"]
    rows = [
        (words(name), *(column.interval(values[column.key]) for column in columns))
        for name, values in found.intervals.items()
    ]
    seeds = ", ".join(map(str, found.seeds))
    note = f"Mean ± half of the 95% interval (Student's t) of {', '.join(found.runs)}: one recipe, seeds {seeds}. "
    note += "Without ±: a control that is the same for every seed. @own: at the threshold chosen on val."
    headings = ("contender", *(column.heading for column in columns))
    return Table(f"Over seeds, on {found.split}{which}", headings, _with_dashes(rows), notes=(note,))


def _comparison(found: Comparison, task: str) -> Table:
    headings = {column.key: column.heading for column in LAYOUTS[task].columns}
    better = {metric.name: metric.higher_is_better for metric in COMPARED[task]}
    rows = [
        (
            headings.get(name, words(name)),
            f"{d.first:.{n}f}",
            f"{d.second:.{n}f}",
            f"{d.difference:+.{n}f}",
            f"{d.low:+.{n}f} to {d.high:+.{n}f}",
            f"{d.p:.4f}",
            (found.second if (d.difference > 0) == better[name] else found.first) if d.clear else "not told apart",
        )
        for name, d in found.differences.items()
        for n in [decimals([d.first, d.second])]
    ]
    notes = (
        COMPARED_BY,
        f"{found.episodes} episodes of {found.split}.",
        *(f"Note: {note}." for note in found.notes),
    )
    columns = ("metric", found.first, found.second, "difference", "95% interval", "p", "better here")
    return Table("The second run against the first", columns, rows, notes=notes)


def _table(
    title: str,
    first: str,
    rows: Sequence[Row],
    columns: Sequence[Column],
    *,
    notes: Sequence[str] = (),
    best: bool = True,
) -> Table:
    """A table without the columns that have nothing to show in any row."""
    columns = fitted(columns, [numbers for _, numbers in rows])
    kept = [column for column in columns if any(column.value(numbers) not in NOTHING for _, numbers in rows)]
    cells = [(name, *(shown(column, numbers) for column in kept)) for name, numbers in rows]
    bold = frozenset(_best(kept, cells)) if best and len(cells) > 1 else frozenset()
    return Table(title, (first, *(column.heading for column in kept)), cells, bold=bold, notes=notes)


def _best(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> Iterator[tuple[int, int]]:
    """The best cells, compared as they are printed: what looks the same is equally good."""
    for at, column in enumerate(columns, start=1):
        if column.better:
            values = {row: _number(line[at]) for row, line in enumerate(cells) if line[at] not in NOTHING}
            goal = (max if column.better == "higher" else min)(values.values(), default=None)
            yield from ((row, at) for row, value in values.items() if value == goal)


def _number(text: str) -> float:
    return float(text.replace(",", "").rstrip("%"))


def _plain(scores: Mapping[str, Scores]) -> list[Row]:
    return [(words(name), found.to_json()) for name, found in scores.items()]


def _label(one: ContenderReport, run: RunReport) -> str:
    own = one.threshold
    return words(one.name) + ("" if own is None or own == run.head.threshold else f" @{own:.2f}")


def _with_dashes(rows: Iterable[Sequence[str]]) -> list[Sequence[str]]:
    return [tuple("–" if cell in NOTHING else cell for cell in row) for row in rows]


def _legend(text: str) -> str:
    """The terminal's legend as the page writes names and what was not measured."""
    return words(text).replace(" -: ", " –: ")
