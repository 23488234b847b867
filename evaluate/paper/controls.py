"""What is said of a table's controls: which are missing, what makes them, and what their numbers are of."""

from collections.abc import Iterator, Mapping, Sequence

from .evaluated import UNTRAINED
from .groups import Group
from .runs import At
from .table import Row

TRAINED: Mapping[str, tuple[str, ...]] = {
    "distill": ("target_mean", "linear_probe", "instruction_blind"),
    "dense": ("target_mean", "linear_probe", "instruction_blind"),
    "ground": ("instruction_blind", "linear_probe"),
}
"""Task -> the controls that a run can be told to train beside its head."""
EVALUATED: Mapping[str, str] = {"distill": "target_mean", "dense": "target_mean", "ground": "centre_prior"}
"""Task -> the control that an evaluation adds."""
RANDOM = "random_init"


def control_notes(group: Group, controls: Sequence[Row], at: At, *, asked_random: bool) -> Iterator[str]:
    """Every control without a row and what makes it, then what is left out of the rows that are there.

    Args:
        group: the setting that the controls are of.
        controls: their rows.
        at: which validation they are shown at.
        asked_random: whether runs on an untrained backbone were named, so that somebody else says what became of them.
    """
    task, there = group.one.record.task, {row.label for row in controls}
    untrained = [name for name in TRAINED[task] if name not in there and name != EVALUATED[task]]
    if untrained:
        yield f"no {_words(untrained)} row: train with `--set 'controls=[{','.join(TRAINED[task])}]'`"
    if EVALUATED[task] not in there:
        yield f"no {_words([EVALUATED[task]])} row: it comes with `vtt eval {group.one.folder}`"
    if RANDOM not in there and not asked_random:
        yield (
            f"no {_words([RANDOM])} row: extract a store with an untrained backbone, train the same recipe from it, "
            "and name that run with `--random-init`"
        )
    yield from _of_some_runs(group, there)
    yield from _other_objectives(group, there, at)


def _of_some_runs(group: Group, there: set[str]) -> Iterator[str]:
    for name in (name for name in UNTRAINED if name in there and not group.logs(name)):
        lacking = [run.folder for run in group.counted if not run.evaluated.get(name)]
        if lacking:
            known = f"{len(group.counted) - len(lacking)} of {len(group.counted)} runs"
            yield f"{_words([name])} is of {known}: it comes with `vtt eval RUN` for each, such as {lacking[0]}"


def _other_objectives(group: Group, there: set[str], at: At) -> Iterator[str]:
    """Losses that cannot stand in one column, and the term that all of them have."""
    others = [name for name in group.contenders if name in there and not group.same_objective(name)]
    if others:
        coarse = {name: group.interval("val.coarse", at, name).mean for name in ("head", *others)}
        told = ", ".join(f"{_words([name])} {value:.3f}" for name, value in coarse.items() if value is not None)
        yield f"val loss of {_words(others)} is left out, its objective is another; the coarse term of each: {told}"


def _words(names: Sequence[str]) -> str:
    return " and ".join(name.replace("_", " ") for name in names)
