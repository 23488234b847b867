"""What is said about several runs together."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..pipeline.metrics.bootstrap import DRAWS, Difference
from ..train.sweep.intervals import Interval


@dataclass(frozen=True)
class Comparison:
    """The heads of two runs, by every metric of their task.

    Args:
        first: the run that is the yardstick.
        second: the other.
        split: the split both were judged on.
        episodes: episodes that were drawn from.
        differences: by metric.
        notes: what to know before believing it.
    """

    first: str
    second: str
    split: str
    episodes: int
    differences: dict[str, Difference]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``metrics.json``; None where nothing could be measured."""
        told = {
            name: {key: _known(value) for key, value in (asdict(d) | {"difference": d.difference}).items()}
            | {"clear": d.clear}
            for name, d in self.differences.items()
        }
        return {
            "first": self.first,
            "second": self.second,
            "split": self.split,
            "episodes": self.episodes,
            "draws": DRAWS,
            "differences": told,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class OverSeeds:
    """Runs that differ in their seed alone.

    Args:
        runs: their names.
        seeds: of each.
        task: of all.
        split: of all.
        intervals: contender, or control ``@own`` threshold -> metric -> mean and 95% interval (Student's t).
    """

    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    task: str
    split: str
    intervals: Mapping[str, Mapping[str, Interval]]

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``metrics.json``."""
        return asdict(self)


def _known(value: float | int) -> float | int | None:
    return value if math.isfinite(value) else None
