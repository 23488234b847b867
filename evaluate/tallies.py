"""What a task's metrics are made of, row by row, so that they can be measured again on drawn episodes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..pipeline.metrics.bootstrap import SumMetric, Sums, ratio
from ..pipeline.metrics.grounding import decide, point_error_px
from ..train.tasks.base import Arrays
from .rows import Answers, LabelledRows
from .scores import hit_or_miss

type Tally = dict[str, Float[np.ndarray, " n"]]
"""A number of every row, by name."""


@dataclass(frozen=True)
class Compared:
    """A metric that two runs are compared by.

    Args:
        name: as in ``metrics.json``.
        of: from sums over rows.
        higher_is_better: which way it is better.
    """

    name: str
    of: SumMetric
    higher_is_better: bool


def _share(part: str, whole: str) -> SumMetric:
    return lambda sums: ratio(sums[part], sums[whole])


def _f_quarter(sums: Sums) -> Float[np.ndarray, " d"]:
    """F_0.25 = (1 + β²) TP / ((1 + β²) TP + β² FN + FP) with β = 1/4; 0 without a true positive."""
    weight = 1 / 16
    whole = (1 + weight) * sums["tp"] + weight * sums["fn"] + sums["fp"]
    return np.where(sums["tp"] > 0, (1 + weight) * sums["tp"] / np.maximum(whole, 1), 0.0)


def _zero_over_zero(part: str, *whole: str) -> SumMetric:
    """part / Σ whole; 0 where both are."""
    return lambda sums: np.nan_to_num(ratio(sums[part], np.sum([sums[name] for name in whole], axis=0)))


def _f1(sums: Sums) -> Float[np.ndarray, " d"]:
    """2 hits / (found + teacher); 0 without a point, nan where nobody counted."""
    points = sums["found"] + sums["teacher"]
    return np.where(points == 0, 0.0, ratio(2 * sums["hits"], points))


COMPARED: Mapping[str, tuple[Compared, ...]] = {
    "ground": (
        Compared("f_0_25", _f_quarter, True),
        Compared("precision", _zero_over_zero("tp", "tp", "fp"), True),
        Compared("recall", _zero_over_zero("tp", "tp", "fn"), True),
        Compared("hit_rate", _share("hit", "hit_rows"), True),
        Compared("point_error_mean_px", _share("error", "positive"), False),
        Compared("false_alarm_rate", _share("alarm", "negative"), False),
    ),
    "distill": (
        Compared("mse", _share("squares", "rows"), False),
        Compared("cosine", _share("cosine", "rows"), True),
    ),
    "dense": (Compared("mse", _share("squares", "rows"), False), Compared("corner_f1", _f1, True)),
}
"""What two runs of a task are compared by; the first is the headline."""


def tally_ground(answers: Answers, rows: LabelledRows, threshold: float) -> Tally:
    """Cell decisions, hits, point errors and false alarms of every row."""
    decided, inside, positive = decide(answers.logits, threshold), hit_or_miss(answers, rows), rows.positive
    error = np.where(positive, point_error_px(answers.points, rows.points), 0.0)
    return {
        "tp": (decided & rows.cells).sum(axis=1).astype(float),
        "fp": (decided & ~rows.cells).sum(axis=1).astype(float),
        "fn": (~decided & rows.cells).sum(axis=1).astype(float),
        "hit": np.nan_to_num(inside),
        "hit_rows": (~np.isnan(inside)).astype(float),
        "error": error,
        "positive": positive.astype(float),
        "alarm": (decided.any(axis=1) & ~positive).astype(float),
        "negative": (~positive).astype(float),
    }


def tally_distill(arrays: Arrays, numbers: int) -> Tally:
    """Squared errors and cosines of every frame; ``numbers`` is how many a frame's target has."""
    rows = np.ones(len(arrays["squares"]))
    return {"squares": arrays["squares"] / numbers, "cosine": arrays["cosine"], "rows": rows}


def tally_dense(arrays: Arrays) -> Tally:
    """Squared errors and corner counts of every frame."""
    rows = np.ones(len(arrays["errors"]))
    counts = {name: np.asarray(arrays.get(name, np.nan * rows), float) for name in ("hits", "found", "teacher")}
    return {"squares": arrays["errors"].mean(axis=1), "rows": rows, **counts}
