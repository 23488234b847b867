"""From a contender's answers to its numbers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ..pipeline.metrics.curves import average_precision
from ..pipeline.metrics.grounding import (
    Counts,
    count_cells,
    f_score,
    hits,
    negative_false_alarm_rate,
    point_error_px,
    precision,
    recall,
)
from .rows import Answers, LabelledRows

GROUPINGS = ("target", "camera", "phase", "episode")


@dataclass(frozen=True)
class Scores:
    """One contender's numbers on one set of rows; nan where no row could be measured.

    Args:
        counts: cell decisions, pooled.
        rows: rows judged.
        negative_rows: rows without a target.
        average_precision: of all cells by score; knows no threshold.
        hit_rate: share of ``hit_rows`` (positive rows with a known region) whose predicted point lies on it.
        hit_rows: rows behind the hit rate.
        point_error_median_px: distance to the target's innermost pixel over positive rows, original pixels.
        point_error_mean_px: its mean.
        false_alarm_rate: share of negative rows with any positive cell.
    """

    counts: Counts
    rows: int
    negative_rows: int
    average_precision: float
    hit_rate: float
    hit_rows: int
    point_error_median_px: float
    point_error_mean_px: float
    false_alarm_rate: float

    def to_json(self) -> dict[str, float | int | None]:
        """A flat dictionary; what was not measured is None."""
        numbers: dict[str, float | int] = {
            "f_0_25": f_score(self.counts),
            "precision": precision(self.counts),
            "recall": recall(self.counts),
            "tp": self.counts.tp,
            "fp": self.counts.fp,
            "fn": self.counts.fn,
            "tn": self.counts.tn,
            "rows": self.rows,
            "negative_rows": self.negative_rows,
            "average_precision": self.average_precision,
            "hit_rate": self.hit_rate,
            "hit_rows": self.hit_rows,
            "point_error_median_px": self.point_error_median_px,
            "point_error_mean_px": self.point_error_mean_px,
            "false_alarm_rate": self.false_alarm_rate,
        }
        return {name: None if math.isnan(value) else value for name, value in numbers.items()}


def score(answers: Answers, rows: LabelledRows, threshold: float) -> Scores:
    """Every number of one contender on one split."""
    return _score_where(answers, rows, threshold, np.ones(len(rows), dtype=bool), hit_or_miss(answers, rows))


def score_by(answers: Answers, rows: LabelledRows, threshold: float) -> dict[str, dict[str, Scores]]:
    """The same numbers by target, camera, phase and episode: grouping -> group -> scores."""
    inside = hit_or_miss(answers, rows)
    result: dict[str, dict[str, Scores]] = {}
    for by in GROUPINGS:
        labels = np.array(rows.groups(by), dtype=object)
        result[by] = {
            name: _score_where(answers, rows, threshold, labels == name, inside) for name in sorted(set(labels))
        }
    return result


def hit_or_miss(answers: Answers, rows: LabelledRows) -> Float[np.ndarray, " n"]:
    """1.0 hit, 0.0 miss, nan where there is no region to hit; (n,)."""
    inside = np.full(len(rows), np.nan)
    for row in np.flatnonzero(rows.positive):
        region = rows.region(int(row))
        if region is not None:
            inside[row] = hits(answers.points[row : row + 1], [region])[0]
    return inside


def _score_where(
    answers: Answers,
    rows: LabelledRows,
    threshold: float,
    chosen: Bool[np.ndarray, " n"],
    inside: Float[np.ndarray, " n"],
) -> Scores:
    logits, cells = answers.logits[chosen], rows.cells[chosen]
    positive = rows.positive & chosen
    error = point_error_px(answers.points[positive], rows.points[positive])
    measured = inside[chosen & ~np.isnan(inside)]
    return Scores(
        counts=count_cells(logits, cells, threshold),
        rows=int(chosen.sum()),
        negative_rows=int((~rows.positive & chosen).sum()),
        average_precision=average_precision(logits, cells),
        hit_rate=_over(np.mean, measured),
        hit_rows=measured.size,
        point_error_median_px=_over(np.median, error),
        point_error_mean_px=_over(np.mean, error),
        false_alarm_rate=negative_false_alarm_rate(logits, cells, threshold),
    )


def _over(statistic: Callable[[Float[np.ndarray, " m"]], Any], values: Float[np.ndarray, " m"]) -> float:
    return float(statistic(values)) if values.size else float("nan")
