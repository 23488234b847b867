"""What a run cost, as the page shows it."""

from ...pipeline.words import counted
from ..report import RunReport
from .content import Fact, Facts, Item, Table
from .cost import UNKNOWN, Cost, Extraction, readable_seconds, size

SECONDS = (
    "Seconds of extraction are those that decoding and forward passes took, summed over workers and shared out over "
    "the rows that came of them; loading weights and writing files are not in them. Training is the wall-clock time "
    "of the loop, validations included, the last one not; head and controls learn in the same pass. Evaluation is "
    "wall-clock time too, from opening the run on, head and controls together."
)


def cost_items(cost: Cost, run: RunReport) -> tuple[Item, ...]:
    """A table of the stages, and a list of what they read."""
    training = cost.training
    rows = [_extraction_row(one) for one in cost.extractions]
    spent = UNKNOWN if training.seconds is None else readable_seconds(training.seconds)
    examples = f"{training.examples:,}"
    rows.append((f"train, {training.steps:,} steps", spent, examples, size(training.bytes), training.device))
    rows += _evaluation_rows(run)
    table = Table("Seconds and bytes", ("stage", "time", "rows", "on disk", "device"), rows, notes=(SECONDS,))
    facts = [
        Fact("drawn in training", _drawn(cost)),
        Fact("energy", f"{UNKNOWN}: no meter was read while extracting, training or evaluating"),
    ]
    return table, Facts("Bytes read and energy", facts)


def _extraction_row(one: Extraction) -> tuple[str, ...]:
    spent = readable_seconds(sum(one.seconds.values())) if one.seconds else UNKNOWN
    if one.seconds and one.told_rows < one.rows:
        spent = f"> {spent}"
    return f"extract {one.feature}", spent, f"{one.rows:,}", size(one.bytes), ", ".join(one.devices) or UNKNOWN


def _evaluation_rows(run: RunReport) -> list[tuple[str, ...]]:
    """What :func:`~visual_thought.evaluate.run.evaluate` measured of itself; nothing for a report read from a file."""
    judged = [scores for scores in (run.head.scores, run.head.val) if scores]
    rows = f"{sum(scores.rows for scores in judged):,}"
    told = {"judge": (f"evaluate, {run.split} and val" if run.head.val else f"evaluate, {run.split}", rows, run.device)}
    told["draw"] = (f"draw {counted(len(run.figures), 'figure')}", "–", "cpu")
    return [
        (told[part][0], readable_seconds(seconds), told[part][1], "–", told[part][2])
        for part, seconds in run.seconds.items()
    ]


def _drawn(cost: Cost) -> str:
    drawn = cost.drawn_bytes
    if drawn is None:
        return UNKNOWN
    return f"{size(drawn)} of features as stored; what fits into memory is read from the disk once"
