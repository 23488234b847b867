"""Does relevance move from what is to be picked up to where it is to be put, at the grasp."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class PhaseShift:
    """Executions with the source in view before the grasp and the destination after it.

    Args:
        executions: how many could be measured.
        moved: in how many most frames before prefer the source and most frames after prefer the destination.
        before: mean score of the source minus that of the destination, before the grasp.
        after: the same after it; relevance that moves makes ``before`` positive and ``after`` negative.
    """

    executions: int
    moved: int
    before: float
    after: float

    @property
    def moved_rate(self) -> float:
        """moved / executions; nan without one."""
        return self.moved / self.executions if self.executions else float("nan")

    @property
    def shift(self) -> float:
        """How far relevance moves, before - after: 2 at most, 0 for what never changes its mind."""
        return self.before - self.after


def phase_shift(
    scores: Float[np.ndarray, "n c"],
    cells: Bool[np.ndarray, "n c"],
    execution: Int[np.ndarray, " n"],
    frame: Int[np.ndarray, " n"],
    after: Bool[np.ndarray, " n"],
) -> PhaseShift:
    """Compare, frame by frame, the score of the source's cells with that of the destination's.

    m_t = max over S_t of s_t - max over D_t of s_t.  Before the grasp S_t is the frame's own target and D_t the
    destination where it is first seen after the grasp; after it D_t is the frame's own target and S_t the source where
    it was last seen before. Cells of both are of neither; frames, and then executions, without cells to compare are
    left out. A camera that moves in between makes the remembered cells wrong: ask about fixed ones.

    Args:
        scores: s, each cell's score.
        cells: each row's relevant cells; rows without any are left out.
        execution: a number for every (episode, camera, instruction).
        frame: order within the execution.
        after: whether the grasp is past.
    """
    found = []
    for number in np.unique(execution):
        rows = np.flatnonzero((execution == number) & cells.any(axis=1))
        rows = rows[np.argsort(frame[rows], kind="stable")]
        margins = _margins(scores, cells, rows[~after[rows]], rows[after[rows]])
        if margins is not None:
            found.append(margins)
    if not found:
        return PhaseShift(0, 0, float("nan"), float("nan"))
    moved = sum(bool((early > 0).mean() > 0.5 and (late < 0).mean() > 0.5) for early, late in found)
    before, past = (float(np.mean([pair[side].mean() for pair in found])) for side in (0, 1))
    return PhaseShift(len(found), moved, before, past)


def _margins(
    scores: Float[np.ndarray, "n c"],
    cells: Bool[np.ndarray, "n c"],
    early: Int[np.ndarray, " k"],
    late: Int[np.ndarray, " m"],
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " m"]] | None:
    """m_t before and after the grasp; None if one of the two is empty."""
    if not early.size or not late.size:
        return None
    source, destination = cells[early[-1]], cells[late[0]]
    before = np.array([m for row in early if (m := _margin(scores[row], cells[row], destination)) is not None])
    after = np.array([m for row in late if (m := _margin(scores[row], source, cells[row])) is not None])
    return (before, after) if before.size and after.size else None


def _margin(
    scores: Float[np.ndarray, " c"], source: Bool[np.ndarray, " c"], destination: Bool[np.ndarray, " c"]
) -> float | None:
    own, other = source & ~destination, destination & ~source
    return float(scores[own].max() - scores[other].max()) if own.any() and other.any() else None
