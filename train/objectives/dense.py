"""The objective of dense map reconstruction (paper, eq. 32)."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ...pipeline.corners import HANDMADE_SCORE
from ...pipeline.errors import ConfigError
from .terms import Term


@dataclass(frozen=True)
class DenseObjectiveConfig:
    """The ``objective`` section of a dense recipe: the loss has no option, what is reported beside it has three."""

    corner_px: float = 10.0
    """A corner is found within this many pixels of the original frame; 0 decodes no corners."""
    corner_score: float = HANDMADE_SCORE
    """Least response of the hand-made localiser, of 2.0 at a perfect corner; the same for teacher and prediction."""
    frame_size: tuple[int, int] | None = None
    """(height, width) of the original frames; null: as the labels or the dataset say."""

    def __post_init__(self) -> None:
        if self.corner_px < 0:
            raise ConfigError("objective.corner_px is a distance", found=self.corner_px, expected="0 or more")


def map_errors(predicted: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c"]:
    """1 / (H W) Σ_p (Ŷ_cp - Y_cp)², per row and channel."""
    return (predicted - y).square().mean(dim=(2, 3))


def dense_terms(predicted: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"]) -> dict[str, Term]:
    """L_dense = 1 / (C H W) Σ_c Σ_p (Ŷ_cp - Y_cp)², averaged over rows (paper, eq. 32, whose C is 3).

    *Symbols*: Ŷ the upsampled prediction, Y the teacher's maps as they are stored.
    """
    return {"squared_error": Term.mean(map_errors(predicted, y).mean(dim=1))}
