"""Tables: plain text for a terminal of 100 columns, and Markdown. The headline comes first, controls under it."""

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..pipeline.metrics.grounding import Counts, f_score, precision, recall
from .report import Report, RunReport
from .scores import Scores

WIDTH = 100


@dataclass(frozen=True)
class Column:
    """A heading and what stands under it."""

    heading: str
    value: Callable[[Scores], str]


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def _share(of: Callable[[Counts], float]) -> Callable[[Scores], str]:
    """Where no cell is relevant, there is nothing to find and no share of it."""
    return lambda s: _number(of(s.counts) if s.counts.positives else math.nan, ".3f")


CELLS = (
    Column("F 0.25", _share(f_score)),
    Column("precision", _share(precision)),
    Column("recall", _share(recall)),
    Column("FP", lambda s: str(s.counts.fp)),
    Column("FN", lambda s: str(s.counts.fn)),
)
POINTS = (
    Column("hit", lambda s: _number(s.hit_rate, ".1%")),
    Column("error px", lambda s: _number(s.point_error_median_px, ".1f")),
    Column("false alarm", lambda s: _number(s.false_alarm_rate, ".1%")),
)
COLUMNS = CELLS + POINTS
COUNTED = (*COLUMNS, Column("rows", lambda s: str(s.rows)))

Row = tuple[str, Scores]
LEGEND = (
    "F 0.25, precision, recall, FP and FN are pooled over all cells; 0/0 counts as 0. hit: the predicted point "
    "lies inside the target region. error px: median distance to the target's innermost pixel, original pixels. "
    "false alarm: negative rows with any positive cell. @: a threshold chosen on val. -: nothing to measure."
)


def terminal_table(report: Report) -> str:
    """Every run as aligned plain text, at most 100 columns wide."""
    return "\n\n".join(_terminal_run(run) for run in report.runs) + f"\n\n{_wrapped(LEGEND)}\n"


def markdown_table(report: Report) -> str:
    """Every run's headline, controls and groups as Markdown tables."""
    return "\n".join(_markdown_run(run) for run in report.runs) + f"{LEGEND}\n"


def _terminal_run(run: RunReport) -> str:
    blocks = ["\n".join(map(_wrapped, _heading(run)))]
    for title, rows, columns in _blocks(run):
        blocks.append(_aligned(title, rows, columns))
    blocks += [_wrapped(f"note: {note}") for note in run.notes]
    return "\n\n".join(blocks)


def _markdown_run(run: RunReport) -> str:
    lines = [f"## {run.run}", "", "; ".join(_heading(run)), ""]
    for title, rows, columns in _blocks(run):
        lines += [f"| {title} | " + " | ".join(c.heading for c in columns) + " |"]
        lines += ["|---|" + "---:|" * len(columns)]
        lines += [f"| {name.strip()} | " + " | ".join(c.value(s) for c in columns) + " |" for name, s in rows] + [""]
    return "\n".join(lines + [f"* {note}" for note in run.notes] + ([""] if run.notes else []))


def _heading(run: RunReport) -> list[str]:
    scores = run.head.scores
    headline = f"{run.run}: F 0.25 {f_score(scores.counts):.3f} on {run.split}"
    told = (
        f"{scores.rows} rows ({scores.rows - scores.negative_rows} positive, {scores.negative_rows} negative) "
        f"of {run.episodes} episodes, {run.dataset}{' (SIMULATED)' if run.simulated else ''}"
    )
    return [headline, told, f"checkpoint {run.checkpoint} (step {run.step}), threshold {run.head.threshold:g}"]


def _blocks(run: RunReport) -> Iterable[tuple[str, list[Row], Sequence[Column]]]:
    controls = [(f"  {_name(c.name, c.threshold, run.head.threshold)}", c.scores) for c in run.contenders[1:]]
    yield run.split, [(run.head.name, run.head.scores), *controls], COLUMNS
    val = [(contender.name, contender.val) for contender in run.contenders]
    if any(scores for _, scores in val):
        yield "val", [(name, scores) for name, scores in val if scores], COLUMNS
    for by, groups in run.head.groups.items():
        yield f"head by {by}", list(groups.items()), COUNTED
    yield "perfect cells", list(run.ceiling.items()), POINTS[:2]


def _name(name: str, threshold: float, usual: float) -> str:
    return name if threshold == usual else f"{name} @{threshold:.2f}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH)


def _aligned(title: str, rows: Sequence[Row], columns: Sequence[Column]) -> str:
    texts = [[title, *(column.heading for column in columns)]]
    texts += [[name, *(column.value(scores) for column in columns)] for name, scores in rows]
    first = max(22, *(len(text[0]) for text in texts))
    widths = [max(len(text[i]) for text in texts) for i in range(1, len(columns) + 1)]
    lines = [
        text[0].ljust(first) + "".join(cell.rjust(width + 2) for cell, width in zip(text[1:], widths, strict=True))
        for text in texts
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
