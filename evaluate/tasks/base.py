"""What judging one run comes to, whatever its task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..config import EvalConfig
from ..figures.book import Page
from ..report import ContenderReport, RunReport, Scores
from ..subject import Subject


@dataclass(frozen=True)
class Judged:
    """A run's numbers before they are a report.

    Args:
        contenders: the head first, then the controls.
        ceiling: what a contender without faults would score, by name; nothing where that is trivial.
        notes: what is missing and why.
        pages: the run's figures, drawn only when they are asked for; the subject must still be open.
    """

    contenders: tuple[ContenderReport, ...]
    ceiling: Mapping[str, Scores] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    pages: Callable[[RunReport], Sequence[Page]] = lambda _: ()


type Judge = Callable[[Subject, EvalConfig], Judged]
"""Judges an open run's head and controls on the config's split, and on val."""
