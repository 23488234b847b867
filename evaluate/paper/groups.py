"""Runs that differ by their seed only make one row; rows stand in blocks, each of which varies one factor."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...train.sweep.intervals import Interval
from .folders import Found
from .published import DIM, LAYERS, LR, P_NEGATIVE, P_POSITIVE
from .runs import BEST_BY, At, PaperRun

FACTORS = {LR: "LR", DIM: "Decoder dim", LAYERS: "Layers", P_POSITIVE: "Margin p+", P_NEGATIVE: "Margin p-"}
"""The factors of table 3 in the paper's order, and what its blocks are called."""


@dataclass(frozen=True, eq=False)
class Group:
    """One setting and its runs, one a seed. Runs that are not finished count only where none is."""

    runs: tuple[PaperRun, ...]

    @property
    def one(self) -> PaperRun:
        """Any of its runs, for what all share."""
        return self.runs[0]

    @cached_property
    def counted(self) -> tuple[PaperRun, ...]:
        """The runs that its numbers are of."""
        whole = tuple(run for run in self.runs if run.finished)
        return whole or tuple(run for run in self.runs if run.reached is not None)

    @property
    def finished(self) -> bool:
        """Whether its numbers are of finished runs."""
        return bool(self.counted) and self.counted[0].finished

    @property
    def contenders(self) -> tuple[str, ...]:
        """The head and the controls that were judged while it was trained."""
        return tuple(dict.fromkeys(name for run in self.runs for name in run.log.contenders))

    def logs(self, contender: str) -> bool:
        """Whether any of its runs judged a contender while it was trained."""
        return contender in self.contenders

    def same_objective(self, contender: str) -> bool:
        """Whether a contender's loss has the head's terms, so that the two can be compared."""
        return all(
            run.log.terms(contender) == run.log.terms("head") for run in self.counted if run.log.steps(contender)
        )

    def interval(self, metric: str, at: At, contender: str = "head") -> Interval:
        """A metric (``val.f_0_25``, ``train.mse``) over the seeds; no mean where it was not measured."""
        split, _, name = metric.partition(".")
        steps = [run.step_at(at, contender) for run in self.counted]
        pairs = zip(self.counted, steps, strict=True)
        return Interval.of([step and run.log.number(contender, split, step, name) for run, step in pairs])

    def merit(self, at: At) -> float:
        """How good its head is by the task's own metric, more is better; -inf if nobody knows."""
        metric, sign = BEST_BY[self.one.record.task]
        mean = self.interval(f"val.{metric}", at).mean
        return float("-inf") if mean is None or not self.finished else sign * mean


@dataclass(frozen=True)
class Line:
    """A row before its numbers: a setting in a block, the keys the block varies, and whether it is carried on."""

    group: Group
    varied: tuple[str, ...] = ()
    carried: bool = False


@dataclass(frozen=True)
class Lines:
    """A block before its numbers."""

    name: str
    lines: tuple[Line, ...]


def group_runs(runs: Sequence[PaperRun]) -> tuple[tuple[Group, ...], tuple[str, ...]]:
    """The settings of some runs, in their order; and a note for every run that repeats another's seed."""
    members: dict[str, dict[tuple[Any, ...], PaperRun]] = {}
    notes = []
    for run in runs:
        seeds = members.setdefault(run.identity, {})
        first = seeds.setdefault(run.seeds, run)
        if first is not run:
            notes.append(f"{run.folder} repeats the setting and seed of {first.folder} and is not counted")
    return tuple(Group(tuple(seeds.values())) for seeds in members.values()), tuple(notes)


def arrange(found: Found, groups: Sequence[Group]) -> tuple[Lines, ...]:
    """Blocks as the sweeps wrote them down; what stands in no sweep is arranged by the factors it varies."""
    of = {run.folder.resolve(): group for group in groups for run in group.runs}
    written = [block for sweep in found.sweeps for block in _written(sweep.entries, sweep.runs, of)]
    placed = {id(line.group) for block in written for line in block.lines}
    return (*written, *_arranged([group for group in groups if id(group) not in placed]))


def _written(entries: Sequence[Any], runs: Mapping[str, Sequence[Any]], of: Mapping[Any, Group]) -> Iterator[Lines]:
    for name in dict.fromkeys(entry.block for entry in entries):
        lines = []
        for entry in (entry for entry in entries if entry.block == name):
            group = next((of[run.resolve()] for run in runs[entry.cell] if run.resolve() in of), None)
            if group is not None:
                lines.append(Line(group, tuple(entry.values), entry.carried))
        if lines:
            yield Lines(name, tuple(lines))


def _arranged(groups: Sequence[Group]) -> Iterator[Lines]:
    """Blocks of at least two settings that agree in everything but one factor, then those that stand alone."""
    placed: set[int] = set()
    for key, name in FACTORS.items():
        for alike in _agreeing(groups, key):
            placed |= {id(group) for group in alike}
            yield Lines(name, tuple(Line(group, (key,)) for group in alike))
    alone = [group for group in groups if id(group) not in placed]
    if alone:
        yield Lines("Runs" if not placed else "Other", tuple(Line(group) for group in alone))


def _agreeing(groups: Sequence[Group], key: str) -> list[list[Group]]:
    alike: dict[str, list[Group]] = {}
    for group in groups:
        rest = repr((sorted((k, v) for k, v in group.one.settings.items() if k != key), group.one.origin))
        alike.setdefault(rest, []).append(group)
    return [sorted(same, key=lambda group: group.one.settings[key]) for same in alike.values() if len(same) > 1]
