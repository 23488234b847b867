"""Grounding metrics over cells and points (paper 2.2.3 and 3.4, equation 51).

A *cell decision* is positive when sigmoid(a_j) >= threshold; 0.5 is [open] in the paper and ours by default.
Counts, precision and recall are pooled over all cells of a split: every row of the paper's tables 3 and 4 has
TP + FN = 1,302 positive cells, which only pooled multi-cell targets give.

What is 0/0 is said here once. Precision without a positive decision, recall without a positive cell, and F where
both are zero are **0.0**: a head that claims nothing earns nothing, so it can never be the best checkpoint. A rate or
an average over *no rows at all* (no negative row, no positive cell to rank) was not measured and is **nan**.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

type Masks = Sequence[Bool[np.ndarray, "h w"]] | Callable[[int], Bool[np.ndarray, "h w"]]


@dataclass(frozen=True)
class Counts:
    """Cell decisions against targets, pooled; two of them add up to the counts of both sets together."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def positives(self) -> int:
        """Positive cells among the targets, TP + FN."""
        return self.tp + self.fn


def sigmoid(logits: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """1 / (1 + exp(-a)) in float64, without overflow; -inf gives 0 and +inf gives 1."""
    a = np.asarray(logits, dtype=np.float64)
    small = np.exp(-np.abs(a))
    return np.where(a >= 0, 1.0, small) / (1.0 + small)


def decide(logits: Float[np.ndarray, "n c"], threshold: float = 0.5) -> Bool[np.ndarray, "n c"]:
    """The cells a head calls positive: sigmoid(a_j) >= threshold."""
    return sigmoid(logits) >= threshold


def count_cells(logits: Float[np.ndarray, "n c"], targets: Bool[np.ndarray, "n c"], threshold: float = 0.5) -> Counts:
    """Pool every cell of every row into one :class:`Counts`; empty input gives zeros."""
    return _counts(decide(logits, threshold), np.asarray(targets, dtype=bool))


def precision(counts: Counts) -> float:
    """TP / (TP + FP), the share of positive decisions that are right; 0.0 if there is none."""
    return _ratio(counts.tp, counts.tp + counts.fp)


def recall(counts: Counts) -> float:
    """TP / (TP + FN), the share of positive cells that are found; 0.0 if there is none."""
    return _ratio(counts.tp, counts.positives)


def f_beta(precision: float, recall: float, beta: float = 0.25) -> float:
    """F_β = (1 + β²) P R / (β² P + R), equation 51 with β = 0.25; 0.0 where P or R is 0.

    *Symbols*: P precision, R recall, β the weight of recall against precision (below 1: precision counts more).
    """
    weight = beta * beta
    return _ratio((1 + weight) * precision * recall, weight * precision + recall)


def f_score(counts: Counts, beta: float = 0.25) -> float:
    """F_β of pooled counts: the number checkpoints are ranked by (0.0 for a head that calls nothing positive)."""
    return f_beta(precision(counts), recall(counts), beta)


def negative_false_alarm_rate(
    logits: Float[np.ndarray, "n c"], targets: Bool[np.ndarray, "n c"], threshold: float = 0.5
) -> float:
    """The share of negative rows (no positive cell among the targets) with any positive decision; nan without one."""
    negative = ~np.asarray(targets, dtype=bool).any(axis=1)  # (n,)
    if not negative.any():
        return float("nan")
    return float(decide(logits, threshold)[negative].any(axis=1).mean())


def hits(points: Float[np.ndarray, "n 2"], masks: Masks) -> Bool[np.ndarray, " n"]:
    """Whether each point (x, y; original pixels) lies on its own region; a point outside the frame does not.

    Args:
        points: continuous frame coordinates; pixel (column i, row j) covers [i, i+1) x [j, j+1).
        masks: one region (h, w) a point, or a function from a point's number to its region.
    """
    lookup = masks if callable(masks) else masks.__getitem__
    return np.array([_inside(x, y, lookup(row)) for row, (x, y) in enumerate(points)], dtype=bool)


def hit_rate(points: Float[np.ndarray, "n 2"], masks: Masks) -> float:
    """The share of points that lie on their own region (see :func:`hits`); nan for no points."""
    inside = hits(points, masks)
    return float(inside.mean()) if inside.size else float("nan")


def point_error_px(points: Float[np.ndarray, "n 2"], truth: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    """Euclidean distance between each predicted and true point, in original pixels."""
    return np.linalg.norm(np.asarray(points, dtype=np.float64) - np.asarray(truth, dtype=np.float64), axis=-1)


def _inside(x: float, y: float, mask: Bool[np.ndarray, "h w"]) -> bool:
    height, width = mask.shape
    return bool(0 <= x < width and 0 <= y < height and mask[int(y), int(x)])


def _counts(decided: Bool[np.ndarray, "n c"], targets: Bool[np.ndarray, "n c"]) -> Counts:
    tp, fp = int((decided & targets).sum()), int((decided & ~targets).sum())
    fn = int((~decided & targets).sum())
    return Counts(tp, fp, fn, targets.size - tp - fp - fn)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
