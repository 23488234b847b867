"""What a run has come to, read from its folder: the best checkpoint of every contender and what it scored."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .checkpoint import link_name
from .journal import read_journal

_LABELS = ("kind", "step", "contender", "split")


@dataclass(frozen=True)
class Outcome:
    """The contenders of a run, the head first.

    Args:
        steps: after how many steps each one's weights were taken.
        metrics: what each scored on the validation split then; empty where the log does not say.
    """

    steps: Mapping[str, int]
    metrics: Mapping[str, Mapping[str, float]]


def best_steps(run_dir: Path, contenders: Iterable[str]) -> dict[str, int]:
    """The step of every contender's best checkpoint, of those that have one."""
    links = {name: run_dir / link_name(name) for name in contenders}
    return {name: int(link.resolve().name) for name, link in links.items() if link.is_dir()}


def read_outcome(run_dir: Path, steps: Mapping[str, int]) -> Outcome:
    """What the log says of these steps."""
    found: dict[str, dict[str, float]] = {name: {} for name in steps}
    for line in read_journal(run_dir):
        name = str(line.get("contender"))
        if (line["kind"], line.get("split"), steps.get(name, -1)) == ("validation", "val", line["step"]):
            found[name] = {key: value for key, value in line.items() if key not in _LABELS and value is not None}
    return Outcome(dict(steps), found)
