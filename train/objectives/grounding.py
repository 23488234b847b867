"""The grounding objective (paper, eq. 40 and 47-50): a sigmoid margin over cells, two choices in the refinement."""

from dataclasses import dataclass
from math import inf, log
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...pipeline.config import refuse_outside
from ...pipeline.errors import ConfigError
from ..heads.scores import GroundingScores, top_candidates
from .terms import Term


@dataclass(frozen=True)
class GroundingObjectiveConfig:
    """The ``objective`` section of a grounding recipe; defaults are the paper's (tables 3 and 4)."""

    p_positive: float = 0.60
    """π_+: positive cells are pulled above this probability (eq. 47)."""
    p_negative: float = 0.15
    """π_-: the hardest negative cells are pushed below this probability (eq. 47)."""
    positive_weight: float = 2.0
    """w_+ on the positive cells (eq. 48)."""
    hard_negatives: int = 10
    """K_neg, the negative cells a row is charged for (eq. 48)."""
    coarse_weight: float = 1.0
    """λ_coarse (eq. 50); [open]."""
    refine_weight: float = 1.0
    """λ_ref (eq. 50)."""
    teacher_forcing: float = 0.2
    """Share of all steps in which the true cell heads the candidates; afterwards it replaces the weakest; [open]."""

    liftable: ClassVar[tuple[str, ...]] = ("p_positive", "p_negative", "positive_weight")
    """Numbers that may be tensors, one element a head, where many heads are trained as one."""

    def __post_init__(self) -> None:
        for name in ("p_positive", "p_negative"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ConfigError(f"objective.{name} is a probability", found=getattr(self, name), expected="0 < p < 1")
        weights = dict.fromkeys(("positive_weight", "coarse_weight", "refine_weight", "hard_negatives"), (0, inf))
        refuse_outside("objective", self, weights | {"teacher_forcing": (0, 1)})


def margin[Number: (float, Tensor)](probability: Number) -> Number:
    """μ = logit(π) = log(π / (1 - π)) (paper, eq. 47), of a number or, for many heads at once, of a tensor."""
    if isinstance(probability, Tensor):
        return torch.logit(probability)
    return log(probability / (1.0 - probability))


def coarse_loss(
    a: Float[Tensor, "b cells"], y: Bool[Tensor, "b cells"], config: GroundingObjectiveConfig
) -> Float[Tensor, " b"]:
    """L = 1/N [ Σ_{j: y_j=1} w_+ max(0, μ_+ - a_j) + Σ_{j ∈ H} max(0, a_j - μ_-) ], per row (paper, eq. 48).

    *Symbols*: H the K_neg highest negative logits (all, if there are fewer); N the positive cells plus H, counted
    even where the hinge is 0.

    Returns:
        (b,) one loss a row; a row without any cell in the loss gives 0.
    """
    low = torch.finfo(a.dtype).min
    positive = (margin(config.p_positive) - a).clamp(min=0.0) * y  # (b, cells)
    hardest = a.masked_fill(y, low).topk(min(config.hard_negatives, a.shape[1]), dim=1).values  # (b, k_neg)
    mined = hardest > low  # (b, k_neg) false where a row ran out of negatives
    negative = (hardest - margin(config.p_negative)).clamp(min=0.0) * mined  # (b, k_neg)
    count = y.sum(dim=1) + mined.sum(dim=1)  # (b,) N
    return (config.positive_weight * positive.sum(dim=1) + negative.sum(dim=1)) / count.clamp(min=1)


def refine_loss(scores: GroundingScores, cell: Int[Tensor, " b"], sub_cell: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """L = ½ CE(b, c*) + ½ CE(r*, u*), per row (paper, eq. 49).

    *Symbols*: c* where the true cell stands among the candidates; r* the fine scores of that candidate; u* the true
    position inside it. Every row's true ``cell`` must be among its candidates.
    """
    place = (scores.candidates == cell[:, None]).int().argmax(dim=1)  # (b,) c*
    fine = scores.refined[torch.arange(len(cell), device=cell.device), place]  # (b, u) r*
    which_cell = F.cross_entropy(scores.scores, place, reduction="none")  # (b,)
    which_place = F.cross_entropy(fine, sub_cell, reduction="none")  # (b,)
    return 0.5 * which_cell + 0.5 * which_place


def grounding_terms(
    scores: GroundingScores,
    y: Bool[Tensor, "b cells"],
    cell: Int[Tensor, " b"],
    sub_cell: Int[Tensor, " b"],
    *,
    refined: bool,
    config: GroundingObjectiveConfig,
) -> dict[str, Term]:
    """L = λ_coarse L_coarse + λ_ref L_ref (paper, eq. 50), as terms that add up.

    Args:
        scores: candidates of positive rows hold the true cell (see :func:`choose_candidates`).
        y: (b, cells) positive cells.
        cell: (b,) the true point's cell, -1 in negative rows.
        sub_cell: (b,) the true point's place inside it; any value in negative rows.
        refined: whether the head refines; without it only the coarse term remains.
        config: weights and margins.

    Returns:
        ``coarse``, averaged over rows, and ``refine``, averaged over positive rows (0 if there is none).
    """
    coarse = coarse_loss(scores.coarse.float(), y, config)  # (b,)
    terms = {"coarse": Term.mean(coarse, config.coarse_weight)}
    if refined:
        rows = cell >= 0  # (b,)
        chosen = GroundingScores(*(part[rows].float() if part.is_floating_point() else part[rows] for part in scores))
        terms["refine"] = Term.mean(refine_loss(chosen, cell[rows], sub_cell[rows]), config.refine_weight)
    return terms


def choose_candidates(
    a: Float[Tensor, "b cells"], cell: Int[Tensor, " b"], k: int, *, teacher_forced: bool
) -> Int[Tensor, "b k"]:
    """The K candidates of a training step or a validation loss: always with the true cell of a positive row.

    ``teacher_forced`` puts the true cell first and the K - 1 best others after it; otherwise the predicted top K
    stand, the true cell replacing the weakest if absent. Both name the same cells, so the objective, which does not
    depend on their order, is the same for both. Negative rows (``cell`` -1) keep their predicted top K.
    """
    if teacher_forced:
        truth = F.one_hot(cell.clamp(min=0), a.shape[1]).bool() & (cell >= 0)[:, None]  # (b, cells)
        return top_candidates(a.masked_fill(truth, torch.inf), k)
    candidates = top_candidates(a, k)  # (b, k)
    absent = (cell >= 0) & ~(candidates == cell[:, None]).any(dim=1)  # (b,)
    weakest = torch.where(absent, cell, candidates[:, -1])  # (b,)
    return torch.cat([candidates[:, :-1], weakest[:, None]], dim=1)
