"""The few numbers that matter most of a run, by task."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..layouts import LAYOUTS, Numbers
from ..report import RunReport
from .content import NOTHING, Number
from .results import rows_of, shown


class Told(NamedTuple):
    """A column that is told in the summary: its key, its label there, what follows it, and a few words under it."""

    key: str
    label: str
    unit: str
    note: str


LOWER = "mean squared error, lower is better"
HEADLINES: Mapping[str, str] = {
    "ground": "precision {precision:.3f}, recall {recall:.3f}",
    "distill": LOWER,
    "dense": LOWER,
}
"""What stands under the headline of each task."""
TOLD: Mapping[str, tuple[Told, ...]] = {
    "ground": (
        Told("hit_rate", "Points on target", "", "of {hit_rows:,} positive rows"),
        Told("point_error_median_px", "Point error", " px", "median, original pixels"),
        Told("false_alarm_rate", "False alarms", "", "of {negative_rows:,} negative rows"),
    ),
    "distill": (
        Told("r2", "R²", "", "share of the tokens' variance explained"),
        Told("cosine", "Cosine", "", "of predicted tokens with the expert's"),
    ),
    "dense": (
        Told("corner_f1", "Corner F1", "", "against the teacher's corners"),
        Told("true_corner_f1", "True corner F1", "", "against the labels; the teacher's {teacher_true_corner_f1:.3f}"),
    ),
}


def summary_of(run: RunReport) -> Iterator[Number]:
    """The headline, the best control beside it, then what else the task is judged by."""
    layout, numbers = LAYOUTS[run.task], run.head.scores.to_json()
    first = layout.headline
    yield Number(first.heading, shown(first, numbers), _filled(HEADLINES[run.task], numbers))
    controls = [row for one in run.contenders[1:] for row in rows_of(one, run)]
    known = [(value, name, told) for name, told in controls if (value := first.number(told)) is not None]
    if known:
        _, name, told = max(known, key=lambda control: first.sign * control[0])
        yield Number("Best control", shown(first, told), f"{first.heading} of {name}")
    columns = {column.key: column for column in layout.columns}
    for one in TOLD[run.task]:
        text = shown(columns[one.key], numbers)
        if text not in NOTHING:
            yield Number(one.label, text + one.unit, _filled(one.note, numbers))


def headline_of(run: RunReport) -> Number:
    """One run among several."""
    first, numbers = LAYOUTS[run.task].headline, run.head.scores.to_json()
    note = _filled(HEADLINES[run.task], numbers)
    return Number(run.run, shown(first, numbers), f"{first.heading}; {note}" if note else first.heading)


def _filled(note: str, numbers: Numbers) -> str:
    """A note with its numbers; empty where one of them was not measured."""
    try:
        return note.format_map(numbers)
    except (KeyError, TypeError):
        return ""
