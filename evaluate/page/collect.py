"""The page of an evaluation's report."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ...pipeline.errors import VisualThoughtError
from ...pipeline.record import RunRecord, read_record
from ...pipeline.words import counted
from ..command import command_of
from ..report import Report, RunReport
from .content import Item, Page
from .cost import cost_of
from .paper import published_tables
from .pictures import figure_of, is_failure
from .provenance import provenance_of
from .results import overviews_of, results_of, weakest
from .spending import cost_items
from .summary import headline_of, summary_of

MOST_SUMMARISED = 6


def page_of(report: Report) -> Page:
    """Everything a report and its run folders say, as a page; what cannot be found out is said to be missing."""
    several, missing = len(report.runs) > 1, [*_missing(report)]
    evaluation = command_of(report.asked) if report.asked else ()
    tables: list[Item] = [*overviews_of(report)] if several else []
    figures: list[Item] = []
    failures: list[Item] = []
    cost: list[Item] = []
    provenance: list[Item] = []
    for run in report.runs:
        tables += _named(results_of(run), run, several)
        figures += _named(
            (figure_of(run, report.out, name) for name in run.figures if not is_failure(name)), run, several
        )
        worst = (figure_of(run, report.out, name) for name in run.figures if is_failure(name))
        failures += _named([*weakest(run), *worst], run, several)
        record = _record(run, missing)
        if record is not None:
            spent = cost_of(run.path, record, run.store, run.features)
            missing += [f"{run.run}: {line}" if several else line for line in spent.missing]
            cost += _named(cost_items(spent, run), run, several)
            provenance += _named(provenance_of(run, record, evaluation), run, several)
    tables += published_tables(report, missing)
    return Page(
        title=f"{len(report.runs)} runs" if several else report.runs[0].run,
        subtitle=_subtitle(report),
        summary=[headline_of(run) for run in report.runs[:MOST_SUMMARISED]]
        if several
        else [*summary_of(report.runs[0])],
        tables=tables,
        figures=figures,
        failures=failures,
        cost=cost,
        provenance=provenance,
        missing=missing,
        simulated=any(run.simulated for run in report.runs),
    )


def _record(run: RunReport, missing: list[str]) -> RunRecord | None:
    try:
        return read_record(run.path / "run.json")
    except VisualThoughtError as error:
        missing.append(f"cost and provenance of {run.run}: {error.problem}")
        return None


def _missing(report: Report) -> Iterator[str]:
    yield from report.notes
    if report.asked is not None and not report.asked.figures:
        yield "figures: none were asked for"


def _named(items: Iterable[Item], run: RunReport, several: bool) -> list[Item]:
    return [replace(item, title=f"{item.title}, {run.run}") if several else item for item in items]


def _subtitle(report: Report) -> str:
    if len(report.runs) > 1:
        return "Heads side by side: " + "; ".join(f"{run.run} on {run.split} of {run.dataset}" for run in report.runs)
    run = report.runs[0]
    numbers = run.head.scores.to_json()
    rows, negative = int(numbers["rows"] or 0), numbers.get("negative_rows")
    kinds = "" if negative is None else f" ({rows - int(negative):,} positive, {int(negative):,} negative)"
    return (
        f"Judged on the {run.split} split of {run.dataset}: {rows:,} rows{kinds} of "
        f"{counted(run.episodes, 'episode')}. Checkpoint {run.checkpoint}, step {run.step:,}."
    )
