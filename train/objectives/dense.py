"""The objective of dense map reconstruction (paper, eq. 32)."""

from jaxtyping import Float
from torch import Tensor

from .terms import Term


def map_errors(predicted: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c"]:
    """1 / (H W) Σ_p (Ŷ_cp - Y_cp)², per row and channel."""
    return (predicted - y).square().mean(dim=(2, 3))


def dense_terms(predicted: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"]) -> dict[str, Term]:
    """L_dense = 1 / (C H W) Σ_c Σ_p (Ŷ_cp - Y_cp)², averaged over rows (paper, eq. 32, whose C is 3).

    *Symbols*: Ŷ the upsampled prediction, Y the teacher's maps as they are stored.
    """
    return {"squared_error": Term.mean(map_errors(predicted, y).mean(dim=1))}
