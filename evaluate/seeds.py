"""Several runs of one recipe: mean and 95% interval over their seeds."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..train.sweep.intervals import Interval
from .across import OverSeeds
from .layouts import Numbers
from .paper.sizes import CLOSED_FORM
from .random_init import NAME as RANDOM_INIT
from .report import RunReport

SEEDLESS = (*CLOSED_FORM, RANDOM_INIT)
"""Contenders that are one thing whatever a run's seed: what knows no seed, and a run that is named beside all."""
OWN = " @own"
"""Follows the name of a control at the threshold that was chosen on val, for each seed anew."""


def over_seeds(runs: Sequence[RunReport]) -> tuple[OverSeeds, ...]:
    """One entry a recipe of which two or more seeds were judged on the same rows."""
    groups: dict[tuple[str, str], list[RunReport]] = {}
    for run in runs:
        groups.setdefault((run.recipe, run.examples_sha256), []).append(run)
    return tuple(_joined(group) for group in groups.values() if len({run.seed for run in group}) > 1)


def _joined(runs: Sequence[RunReport]) -> OverSeeds:
    scores = [dict(_scores(run)) for run in runs]
    names = [name for name in scores[0] if all(name in found for found in scores)]
    intervals = {
        name: {key: _over(name, [found[name].get(key) for found in scores]) for key in scores[0][name]}
        for name in names
    }
    return OverSeeds(
        tuple(run.run for run in runs), tuple(run.seed for run in runs), runs[0].task, runs[0].split, intervals
    )


def _scores(run: RunReport) -> Iterator[tuple[str, Numbers]]:
    """Every contender, and controls once more at their own thresholds."""
    for contender in run.contenders:
        yield contender.name, contender.scores.to_json()
        if contender.own and contender is not run.head:
            yield contender.name + OWN, contender.own.scores.to_json()


def _over(name: str, values: Sequence[float | None]) -> Interval:
    """Mean and interval; of what is the same for every seed, its value alone."""
    found = Interval.of(values)
    return replace(found, half=None) if name.removesuffix(OWN) in SEEDLESS else found
