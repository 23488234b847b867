"""The objective of feature distillation (paper, eq. 22), and what may be added to it or stand in its place."""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...pipeline.errors import ConfigError
from .terms import Term


@dataclass(frozen=True)
class DistillObjectiveConfig:
    """The ``objective`` section of a distillation recipe; the defaults are the paper's."""

    normalise: Literal["none", "channel", "position"] = "none"
    """Shift and scale the targets by statistics of the training episodes: per channel, or per channel and position.
    Metrics stay in the teacher's own unit."""
    mse_weight: float = 1.0
    """Weight of the mean squared error (eq. 22)."""
    cosine_weight: float = 0.0
    """Weight of one minus the cosine of every token; not in the paper."""
    smooth_l1_weight: float = 0.0
    """Weight of the smooth L1 distance, quadratic below 1; not in the paper."""

    def __post_init__(self) -> None:
        weights = (self.mse_weight, self.cosine_weight, self.smooth_l1_weight)
        if min(weights) < 0 or max(weights) == 0:
            raise ConfigError(
                "the objective's weights leave nothing to learn", found=weights, expected="none below 0, one above"
            )


def squared_error(t: Float[Tensor, "b m d"], e: Float[Tensor, "b m d"]) -> Float[Tensor, " b"]:
    """L_feat = 1 / (N D) Σ_i Σ_d (T_id - E_id)², per row (paper, eq. 22).

    *Symbols*: T the visual-thought tokens, E the expert's, N of them, with D channels each.
    """
    return (t - e).square().mean(dim=(1, 2))


def cosine_distance(t: Float[Tensor, "b m d"], e: Float[Tensor, "b m d"]) -> Float[Tensor, " b"]:
    """1 / N Σ_i (1 - cos(T_i, E_i)), per row; a token of zeros has cosine 0 with every other."""
    return 1.0 - F.cosine_similarity(t, e, dim=2).mean(dim=1)


def smooth_l1(t: Float[Tensor, "b m d"], e: Float[Tensor, "b m d"]) -> Float[Tensor, " b"]:
    """1 / (N D) Σ_i Σ_d s(T_id - E_id), per row;  s(x) = x² / 2 if abs(x) < 1, else abs(x) - 1 / 2."""
    return F.smooth_l1_loss(t, e, reduction="none").mean(dim=(1, 2))


def distill_terms(
    t: Float[Tensor, "b m d"], e: Float[Tensor, "b m d"], config: DistillObjectiveConfig
) -> dict[str, Term]:
    """The weighted terms of a batch, each averaged over rows; those of weight 0 are left out."""
    parts = {
        "squared_error": (squared_error, config.mse_weight),
        "cosine_distance": (cosine_distance, config.cosine_weight),
        "smooth_l1": (smooth_l1, config.smooth_l1_weight),
    }
    return {name: Term.mean(of(t, e), weight) for name, (of, weight) in parts.items() if weight}
