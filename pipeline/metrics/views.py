"""Do two cameras that see one moment point at the same thing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True)
class ViewConsistency:
    """Moments in which the target is in view of two cameras or more.

    Args:
        moments: how many.
        same: in how many every camera's point lies on the same object, be it the wrong one.
        right: in how many every camera's point lies on the target.
        split: in how many some point lies on the target and another does not.
    """

    moments: int
    same: int
    right: int
    split: int

    @property
    def same_rate(self) -> float:
        """same / moments; nan without a moment."""
        return self.same / self.moments if self.moments else float("nan")

    @property
    def right_rate(self) -> float:
        """right / moments; nan without a moment."""
        return self.right / self.moments if self.moments else float("nan")


def view_consistency(moment: Int[np.ndarray, " n"], target: Sequence[str], landed: Sequence[str]) -> ViewConsistency:
    """Count moments by what the points of their views lie on.

    Args:
        moment: a number for every moment; rows of one moment are views of it with one question. Moments with a single
            row say nothing and are left out.
        target: what was asked for, by row.
        landed: the object each row's point lies on; "" for none.
    """
    seen: dict[int, list[tuple[str, str]]] = {}
    for number, pair in zip(moment.tolist(), zip(target, landed, strict=True), strict=True):
        seen.setdefault(number, []).append(pair)
    views = [pairs for pairs in seen.values() if len(pairs) > 1]
    hits = [[asked == found for asked, found in pairs] for pairs in views]
    return ViewConsistency(
        moments=len(views),
        same=sum(len({found for _, found in pairs}) == 1 and pairs[0][1] != "" for pairs in views),
        right=sum(map(all, hits)),
        split=sum(any(hit) and not all(hit) for hit in hits),
    )
