"""Points found against points that are true."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class PointScores(NamedTuple):
    """How many points were found and rightly so, over any number of images."""

    hits: int
    found: int
    true: int

    @property
    def precision(self) -> float:
        """hits / found; 0 if nothing was found."""
        return self.hits / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """hits / true; 0 if there is nothing to find."""
        return self.hits / self.true if self.true else 0.0

    @property
    def f1(self) -> float:
        """2 hits / (found + true); 0 if there is neither."""
        return 2 * self.hits / (self.found + self.true) if self.found + self.true else 0.0


def match_pairs(
    found: Float[np.ndarray, "n 2"], true: Float[np.ndarray, "m 2"], *, within_px: float
) -> Int[np.ndarray, "k 2"]:
    """Which found point (first column) has which true one (second column).

    The found points, best first, each take the nearest true point that none before it took, within a distance.
    """
    free, pairs = np.ones(len(true), bool), list[tuple[int, int]]()
    for number, point in enumerate(found):
        distance = np.where(free, np.linalg.norm(true - point, axis=1), np.inf)
        if free.any() and distance.min() <= within_px:
            nearest = int(distance.argmin())
            free[nearest] = False
            pairs.append((number, nearest))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def match_points(found: Float[np.ndarray, "n 2"], true: Float[np.ndarray, "m 2"], *, within_px: float) -> int:
    """How many of the found points, best first, have a true point of their own within a distance."""
    return len(match_pairs(found, true, within_px=within_px))


def score_points(
    found: list[Float[np.ndarray, "n 2"]], true: list[Float[np.ndarray, "m 2"]], *, within_px: float
) -> PointScores:
    """Hits, found and true points of many images; ``found`` holds each image's points, best first."""
    pairs = list(zip(found, true, strict=True))
    hits = sum(match_points(one, other, within_px=within_px) for one, other in pairs)
    return PointScores(hits, sum(len(one) for one, _ in pairs), sum(len(other) for _, other in pairs))
