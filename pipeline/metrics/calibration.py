"""Do scores mean what they say: of the cells scored 0.7, are 70% relevant."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from .grounding import sigmoid

BINS = 10
SCORED = 0.1
"""From this score on a cell counts for the error over scored cells."""


@dataclass(frozen=True)
class CalibrationBin:
    """Cells with a score in [low, high), or [low, high] in the last bin; nan without any.

    Args:
        low: least score.
        high: greatest score.
        cells: how many there are.
        score: their mean score.
        frequency: the share of them that is relevant.
    """

    low: float
    high: float
    cells: int
    score: float
    frequency: float


@dataclass(frozen=True)
class Calibration:
    """Scores against frequencies.

    Args:
        bins: of equal width, from 0 to 1.
        error: expected calibration error; of many easy cells, it is small for whoever scores all at the base rate.
        brier: mean squared distance of score and truth.
        base_rate: the share of all cells that is relevant.
        scored_error: the expected calibration error over the cells that score at least :data:`SCORED` alone.
        scored_cells: how many those are.
    """

    bins: tuple[CalibrationBin, ...]
    error: float
    brier: float
    base_rate: float
    scored_error: float
    scored_cells: int


def calibrate(logits: Float[np.ndarray, "n c"], targets: Bool[np.ndarray, "n c"], bins: int = BINS) -> Calibration:
    """ECE = Σ_b n_b / n |s̄_b - f_b| and Brier = mean (s - y)², pooled over cells; nan without a cell.

    *Symbols*: s a cell's score sigmoid(a_j), y whether it is relevant, n_b the cells in bin b, s̄_b and f_b the mean of
    s and of y over them.
    """
    scores, truth = sigmoid(logits).ravel(), np.asarray(targets, dtype=bool).ravel()
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.minimum((scores * bins).astype(int), bins - 1)
    found = tuple(_bin(edges[b], edges[b + 1], scores[place == b], truth[place == b]) for b in range(bins))
    chosen = scores >= SCORED
    return Calibration(
        bins=found,
        error=calibration_error(logits, targets, bins=bins),
        brier=float(np.square(scores - truth).mean()) if scores.size else float("nan"),
        base_rate=float(truth.mean()) if scores.size else float("nan"),
        scored_error=calibration_error(logits, targets, bins=bins, least=SCORED),
        scored_cells=int(chosen.sum()),
    )


def calibration_error(
    logits: Float[np.ndarray, "n c"], targets: Bool[np.ndarray, "n c"], *, bins: int = BINS, least: float = 0.0
) -> float:
    """ECE = Σ_b n_b / n |s̄_b - f_b| over the cells that score at least ``least``; nan without one.

    *Symbols*: as for :func:`calibrate`. *We differ* where ``least`` is above 0: most cells of a frame are easily empty,
    so the error over all of them says little but that they are.
    """
    scores = sigmoid(logits)
    chosen = scores >= least
    scores, truth = scores[chosen], np.asarray(targets, dtype=bool)[chosen]
    place = np.minimum((scores * bins).astype(int), bins - 1)
    gaps = [abs(float((scores[place == b] - truth[place == b]).sum())) for b in range(bins)]
    return float(sum(gaps) / scores.size) if scores.size else float("nan")


def _bin(low: float, high: float, scores: Float[np.ndarray, " m"], truth: Bool[np.ndarray, " m"]) -> CalibrationBin:
    empty = not scores.size
    score, frequency = (float("nan"), float("nan")) if empty else (float(scores.mean()), float(truth.mean()))
    return CalibrationBin(float(low), float(high), scores.size, score, frequency)
