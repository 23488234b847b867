"""Metrics over all thresholds, and metrics by group (target, camera, phase)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from .grounding import Counts, count_cells, sigmoid

SWEEP = tuple(round(0.05 * step, 2) for step in range(1, 20))


@dataclass(frozen=True)
class SweepPoint:
    """The pooled counts at one decision threshold."""

    threshold: float
    counts: Counts


def threshold_sweep(
    logits: Float[np.ndarray, "n c"], targets: Bool[np.ndarray, "n c"], thresholds: Sequence[float] = SWEEP
) -> tuple[SweepPoint, ...]:
    """Pooled counts at every threshold (0.05, 0.10, … 0.95 by default)."""
    return tuple(SweepPoint(t, count_cells(logits, targets, t)) for t in thresholds)


def best_threshold(logits: Float[np.ndarray, "n c"], targets: Bool[np.ndarray, "n c"], beta: float = 0.25) -> float:
    """The threshold with the highest F_β (eq. 51) among all distinct scores sigmoid(a_j); of equals the highest.

    For controls that have no threshold of their own. Chosen on validation rows, never on the rows reported.
    Without cells or without a positive one, 0.5.
    """
    scores, tp, decided = _ranking(logits, targets)
    positives = int(np.asarray(targets, dtype=bool).sum())
    if not positives:
        return 0.5
    p, r, weight = tp / decided, tp / positives, beta * beta  # (k,)
    whole = weight * p + r
    f = np.divide((1 + weight) * p * r, whole, out=np.zeros_like(p), where=whole > 0)
    return float(scores[int(np.argmax(f))])


def average_precision(logits: Float[np.ndarray, "n c"], targets: Bool[np.ndarray, "n c"]) -> float:
    """AP = Σ_k (R_k - R_{k-1}) P_k over distinct scores from high to low, pooled over cells; nan without a positive.

    *Symbols*: P_k, R_k precision and recall when every cell scoring at least the k-th distinct score is positive.
    Not interpolated; equal scores move together, so the order of the rows does not matter.
    """
    _, tp, decided = _ranking(logits, targets)
    positives = int(np.asarray(targets, dtype=bool).sum())
    if not positives:
        return float("nan")
    gained = np.diff(tp, prepend=0) / positives
    return float((gained * tp / decided).sum())


@dataclass(frozen=True)
class CurvePoint:
    """Precision and recall when every cell scoring at least the threshold is positive."""

    threshold: float
    precision: float
    recall: float


def precision_recall_curve(
    logits: Float[np.ndarray, "n c"], targets: Bool[np.ndarray, "n c"], most: int | None = None
) -> tuple[CurvePoint, ...]:
    """The curve over all distinct scores from high to low, pooled over cells; nothing without a positive cell.

    Args:
        logits: a_j of every cell.
        targets: which cells are relevant.
        most: keep this many points at most, about evenly spaced in recall; the last one is always kept.
    """
    scores, tp, decided = _ranking(logits, targets)
    positives = int(np.asarray(targets, dtype=bool).sum())
    if not positives:
        return ()
    precisions, recalls = tp / decided, tp / positives
    kept: Int[np.ndarray, " k"] = np.arange(len(scores))
    if most is not None and len(scores) > most:
        kept = np.unique(np.searchsorted(recalls, np.linspace(recalls[0], recalls[-1], most - 1)))
        kept = np.union1d(kept, [len(scores) - 1])
    return tuple(CurvePoint(float(scores[i]), float(precisions[i]), float(recalls[i])) for i in kept)


def groups_of(labels: Sequence[str]) -> dict[str, Int[np.ndarray, " m"]]:
    """The row numbers of every group, groups in alphabetical order."""
    values = np.asarray(labels, dtype=object)
    return {name: np.flatnonzero(values == name) for name in sorted(set(labels))}


def count_by(
    labels: Sequence[str],
    logits: Float[np.ndarray, "n c"],
    targets: Bool[np.ndarray, "n c"],
    threshold: float = 0.5,
) -> dict[str, Counts]:
    """Pooled counts of every group of rows; their sum is :func:`count_cells` of all rows."""
    return {name: count_cells(logits[rows], targets[rows], threshold) for name, rows in groups_of(labels).items()}


def _ranking(
    logits: Float[np.ndarray, "n c"], targets: Bool[np.ndarray, "n c"]
) -> tuple[Float[np.ndarray, " k"], Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Distinct scores from high to low, with true positives and positive decisions down to each of them."""
    scores, truth = sigmoid(logits).ravel(), np.asarray(targets, dtype=bool).ravel()
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.diff(ranked, append=-1.0))  # the last of every run of equal scores
    return ranked[last], np.cumsum(truth[order])[last], last + 1
