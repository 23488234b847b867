"""The page of an evaluation's report."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ...pipeline.errors import VisualThoughtError
from ...pipeline.record import read_record
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


@dataclass(frozen=True)
class Part:
    """One run's items, and sentences about what is missing from them."""

    tables: Sequence[Item]
    figures: Sequence[Item]
    failures: Sequence[Item]
    cost: Sequence[Item] = ()
    provenance: Sequence[Item] = ()
    missing: Sequence[str] = ()


def page_of(report: Report) -> Page:
    """Everything a report and its run folders say, as a page; what cannot be found out is said to be missing."""
    runs, several = report.runs, len(report.runs) > 1
    parts = [_named(_part(run, report), run) if several else _part(run, report) for run in runs]
    published, unpublished = published_tables(report)
    overviews = overviews_of(report) if several else ()
    return Page(
        title=f"{len(runs)} runs" if several else runs[0].run,
        subtitle=_subtitle(report),
        summary=[headline_of(run) for run in runs[:MOST_SUMMARISED]] if several else [*summary_of(runs[0])],
        tables=[*overviews, *(item for part in parts for item in part.tables), *published],
        figures=[item for part in parts for item in part.figures],
        failures=[item for part in parts for item in part.failures],
        cost=[item for part in parts for item in part.cost],
        provenance=[item for part in parts for item in part.provenance],
        missing=[*report.notes, *_not_asked(report), *(line for part in parts for line in part.missing), *unpublished],
        simulated=any(run.simulated for run in runs),
    )


def _part(run: RunReport, report: Report) -> Part:
    pictures = {name: figure_of(run, report.out, name) for name in run.figures}
    figures = [picture for name, picture in pictures.items() if not is_failure(name)]
    failures: list[Item] = [*weakest(run), *(picture for name, picture in pictures.items() if is_failure(name))]
    shown = Part([*results_of(run)], figures, failures)
    try:
        record = read_record(run.path / "run.json")
    except VisualThoughtError as error:
        return replace(shown, missing=[f"cost and provenance: {error.problem}"])
    spent = cost_of(run.path, record, run.store, run.features)
    provenance = provenance_of(run, record, command_of(report.asked), report.made)
    return replace(shown, cost=cost_items(spent, run), provenance=provenance, missing=spent.missing)


def _named(part: Part, run: RunReport) -> Part:
    """The same, every heading and sentence with the run's name."""
    return Part(
        tables=_titled(part.tables, run),
        figures=_titled(part.figures, run),
        failures=_titled(part.failures, run),
        cost=_titled(part.cost, run),
        provenance=_titled(part.provenance, run),
        missing=[f"{run.run}: {line}" for line in part.missing],
    )


def _titled(items: Iterable[Item], run: RunReport) -> list[Item]:
    return [replace(item, title=f"{item.title}, {run.run}") for item in items]


def _not_asked(report: Report) -> list[str]:
    return [] if report.asked.figures else ["figures: none were asked for"]


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
