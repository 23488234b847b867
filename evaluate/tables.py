"""Tables: plain text for a terminal of 100 columns, and Markdown. The headline comes first, controls under it."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .across import Comparison, OverSeeds
from .decimals import decimals, fitted
from .layouts import FINDINGS, LAYOUTS, NOTHING, Column, Numbers
from .legends import findings_legend
from .report import ContenderReport, Report, RunReport, Scores

WIDTH = 100
MOST_EPISODES = 12
SHOWN_OVER_SEEDS = 4
SHORT = 16
OVER_SEEDS = (
    "over seeds: mean ± 95% interval (Student's t) of runs of one recipe on the same rows; without ±: a control "
    "that is the same for every seed; @own: at the threshold chosen on val, for each seed anew."
)
COMPARISON_LEGEND = (
    "comparison: of the heads, by a paired bootstrap that draws whole episodes; [95%] holds the difference, second "
    "minus first, in 95% of the draws; p: two-sided; *: the interval does not hold 0."
)

type Row = tuple[str, Numbers]
type Grid = Sequence[Sequence[str]]
"""Texts of a table, its heading first."""
type Block = tuple[str, Sequence[Row], Sequence[Column]]
"""Title, rows and columns of one table."""


def terminal_table(report: Report) -> str:
    """What several runs come to together, then every run, as aligned plain text, at most 100 columns wide."""
    blocks = [_grid(table) for table in _across(report)]
    blocks += [_wrapped(f"note: {note}") for note in _notes(report)]
    blocks += [_terminal_run(run) for run in report.runs]
    return "\n\n".join(blocks) + "\n\n" + "\n".join(map(_wrapped, _legends(report))) + "\n"


def closing(report: Report) -> str:
    """Where the page is, and what it misses beyond the notes of the table."""
    return "\n".join([f"report: {report.page}", *(_wrapped(f"missing: {line}") for line in report.missing)])


def markdown_table(report: Report) -> str:
    """The same as Markdown tables."""
    blocks = [_markdown_grid(table) for table in _across(report)]
    blocks += [f"* {note}\n" for note in _notes(report)]
    blocks += [_markdown_run(run) for run in report.runs]
    return "\n".join(blocks) + "\n\n".join(_legends(report)) + "\n"


def _legends(report: Report) -> list[str]:
    tasks = dict.fromkeys(run.task for run in report.runs)
    found = [LAYOUTS[task].legend for task in tasks]
    if any(run.head.findings for run in report.runs):
        found.append(findings_legend(report.runs))
    if report.seeds:
        found.append(OVER_SEEDS)
    if report.comparison:
        found.append(COMPARISON_LEGEND)
    return found


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
        lines += [f"| {name.strip()} | " + " | ".join(c.value(n) for c in columns) + " |" for name, n in rows] + [""]
    return "\n".join(lines + [f"* {note}" for note in run.notes] + ([""] if run.notes else []))


def _heading(run: RunReport) -> list[str]:
    numbers, first = run.head.scores.to_json(), LAYOUTS[run.task].headline
    headline = f"{run.run}: {first.heading} {first.value(numbers)} on {run.split}"
    told = (
        f"{numbers['rows']} rows{_kinds(numbers)} of {run.episodes} episodes, "
        f"{run.dataset}{' (SIMULATED)' if run.simulated else ''}"
    )
    threshold = "" if run.head.threshold is None else f", threshold {run.head.threshold:g}"
    steps = [f"steps: {run.steps}"] if run.steps else []
    return [headline, told, f"checkpoint {run.checkpoint} (step {run.step}){threshold}", *steps]


def _kinds(numbers: Numbers) -> str:
    """How many of the rows have a target, where that is a question."""
    rows, negative = numbers["rows"], numbers.get("negative_rows")
    return "" if rows is None or negative is None else f" ({rows - negative} positive, {negative} negative)"


def _blocks(run: RunReport) -> Iterable[Block]:
    for title, rows, columns in _unfitted(run):
        yield title, rows, fitted(columns, [numbers for _, numbers in rows])


def _unfitted(run: RunReport) -> Iterable[Block]:
    layout = LAYOUTS[run.task]
    yield _shown(run.split, [*_contenders(run)], layout.columns)
    val = [(contender.name, contender.val.to_json()) for contender in run.contenders if contender.val]
    if val:
        yield _shown("val", val, layout.columns)
    findings = [(c.name, c.findings.numbers()) for c in run.contenders if c.findings]
    if findings:
        yield _shown("views and phases", findings, FINDINGS)
    for by, groups in run.head.groups.items():
        if by != "episode" or len(groups) <= MOST_EPISODES:
            yield _shown(f"head by {by}", _plain(groups), layout.counted)
    if run.ceiling:
        yield "perfect cells", _plain(run.ceiling), layout.ceiling


def _contenders(run: RunReport) -> Iterator[Row]:
    """The head, and under it its controls; one with a threshold of its own a second time at that."""
    yield run.head.name, run.head.scores.to_json()
    for control in run.contenders[1:]:
        yield f"  {_name(control, run.head)}", control.scores.to_json()
        if control.own:
            yield f"  {control.name} @{control.own.threshold:.2f}", control.own.scores.to_json()


def _plain(scores: Mapping[str, Scores]) -> list[Row]:
    return [(name, found.to_json()) for name, found in scores.items()]


def _shown(title: str, rows: Sequence[Row], columns: Sequence[Column]) -> Block:
    """A table without the columns that have nothing to show in any row."""
    return title, rows, [c for c in columns if any(c.value(numbers) != NOTHING for _, numbers in rows)]


def _name(contender: ContenderReport, head: ContenderReport) -> str:
    own = contender.threshold
    return contender.name if own is None or own == head.threshold else f"{contender.name} @{own:.2f}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH)


def _across(report: Report) -> Iterable[Grid]:
    """Tables about several runs."""
    for found in report.seeds:
        yield _seeds_grid(found)
    if report.comparison:
        yield _comparison_grid(report.comparison)


def _notes(report: Report) -> tuple[str, ...]:
    return report.comparison.notes if report.comparison else ()


def _seeds_grid(found: OverSeeds) -> Grid:
    means = [{key: interval.mean for key, interval in values.items()} for values in found.intervals.values()]
    columns = fitted(LAYOUTS[found.task].columns[:SHOWN_OVER_SEEDS], means)
    rows = [[name, *(c.interval(values[c.key]) for c in columns)] for name, values in found.intervals.items()]
    return [[f"{found.split}, {len(found.seeds)} seeds", *(c.heading for c in columns)], *rows]


def _comparison_grid(found: Comparison) -> Grid:
    rows = [
        [
            name,
            f"{d.first:.{n}f}",
            f"{d.second:.{n}f}",
            f"{d.difference:+.{n}f}",
            f"[{d.low:+.{n}f}, {d.high:+.{n}f}]",
            f"{d.p:.4f} {'*' if d.clear else ' '}",
        ]
        for name, d in found.differences.items()
        for n in [decimals([d.first, d.second])]
    ]
    title = f"{found.split}, {found.episodes} episodes"
    return [[title, _short(found.first), _short(found.second), "difference", "[95%]", "p  "], *rows]


def _short(name: str) -> str:
    return name if len(name) <= SHORT else f"{name[: SHORT // 2 - 1]}…{name[-SHORT // 2 :]}"


def _markdown_grid(grid: Grid) -> str:
    lines = [f"| {' | '.join(row)} |" for row in grid]
    return "\n".join([lines[0], "|---|" + "---:|" * (len(grid[0]) - 1), *lines[1:], ""])


def _aligned(title: str, rows: Sequence[Row], columns: Sequence[Column]) -> str:
    texts = [[title, *(column.heading for column in columns)]]
    texts += [[name, *(column.value(numbers) for column in columns)] for name, numbers in rows]
    return _grid(texts)


def _grid(texts: Grid) -> str:
    """Aligned columns: names to the left, values to the right."""
    first = max(22, *(len(text[0]) for text in texts))
    widths = [max(len(text[i]) for text in texts) for i in range(1, len(texts[0]))]
    lines = [
        text[0].ljust(first) + "".join(cell.rjust(width + 2) for cell, width in zip(text[1:], widths, strict=True))
        for text in texts
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
