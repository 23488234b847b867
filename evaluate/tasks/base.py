"""What judging one run comes to, whatever its task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..config import EvalConfig
from ..report import ContenderReport, RunReport, Scores
from ..subject import Subject


@dataclass(frozen=True)
class Drawn:
    """Pictures that were written, and why others were not."""

    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def draw_nothing(report: RunReport, folder: Path) -> Drawn:  # noqa: ARG001 the interface's
    """A task without pictures."""
    return Drawn()


@dataclass(frozen=True)
class Judged:
    """A run's numbers before they are a report.

    Args:
        contenders: the head first, then the controls.
        ceiling: what a contender without faults would score, by name; nothing where that is trivial.
        notes: what is missing and why.
        draw: writes the run's figures into a folder.
    """

    contenders: tuple[ContenderReport, ...]
    ceiling: Mapping[str, Scores] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    draw: Callable[[RunReport, Path], Drawn] = draw_nothing


type Judge = Callable[[Subject, EvalConfig], Judged]
"""Judges an open run's head and controls on the config's split, and on val."""
