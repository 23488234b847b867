"""What a grounding head says, and what is read off it (paper, eq. 40 and 44-46)."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class GroundingScores(NamedTuple):
    """What a grounding head says about a batch.

    Symbols: k candidate cells; u fine positions inside a coarse cell (1 where nothing is refined).
    """

    coarse: Float[Tensor, "b cells"]
    """a: relevance logit of every coarse cell (eq. 37)."""
    candidates: Int[Tensor, "b k"]
    """C: the coarse cells that were refined (eq. 40)."""
    refined: Float[Tensor, "b k u"]
    """r: score of every fine position of every candidate (eq. 44)."""
    scores: Float[Tensor, "b k"]
    """b: coarse logit and refinement support together (eq. 45-46)."""


class Prediction(NamedTuple):
    """Where a grounding head points."""

    cell: Int[Tensor, " b"]
    """The coarse cell, row-major."""
    sub_cell: Int[Tensor, " b"]
    """The fine position inside that cell, row-major (0 where nothing is refined)."""
    point: Float[Tensor, "b 2"]
    """Its centre (x, y) in pixels of the network input."""


def top_candidates(coarse: Float[Tensor, "b cells"], k: int) -> Int[Tensor, "b k"]:
    """C = TopK(a), best first; all cells if there are fewer than k (paper, eq. 40)."""
    return coarse.topk(min(k, coarse.shape[1]), dim=1).indices


def combine(coarse: Float[Tensor, "b k"], refined: Float[Tensor, "b k u"]) -> Float[Tensor, "b k"]:
    """b_c = a_c + log Σ_u exp(r_u) (paper, eq. 45)."""
    return coarse + refined.logsumexp(dim=2)


def unrefined(coarse: Float[Tensor, "b cells"], candidates: Int[Tensor, "b k"]) -> GroundingScores:
    """Scores of a head without refinement: one position a cell with r = 0, so that b_c = a_c."""
    refined = coarse.new_zeros(*candidates.shape, 1)  # (b, k, 1)
    return GroundingScores(coarse, candidates, refined, coarse.gather(1, candidates))


def predict(scores: GroundingScores, grid: tuple[int, int], input_size: tuple[int, int]) -> Prediction:
    """The best cell argmax_c b_c, inside it the best position argmax_u r_u, and that position's centre.

    Args:
        scores: from a head called without the true cell among its candidates.
        grid: rows and columns of the coarse grid.
        input_size: height and width of the network input, in pixels.
    """
    best = scores.scores.argmax(dim=1, keepdim=True)  # (b, 1)
    cell = scores.candidates.gather(1, best)[:, 0]  # (b,)
    units = scores.refined.shape[2]
    inside = scores.refined.gather(1, best[:, :, None].expand(-1, -1, units))[:, 0]  # (b, u)
    sub_cell = inside.argmax(dim=1)  # (b,)
    factor = math.isqrt(units)
    row = cell // grid[1] * factor + sub_cell // factor  # (b,) fine row
    column = cell % grid[1] * factor + sub_cell % factor  # (b,) fine column
    x = (column + 0.5) * input_size[1] / (grid[1] * factor)
    y = (row + 0.5) * input_size[0] / (grid[0] * factor)
    return Prediction(cell, sub_cell, torch.stack([x, y], dim=1))  # point: (b, 2)
