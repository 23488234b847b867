"""Layer normalisation folded into the linear map behind it, for many heads that read the same tokens.

W (γ ∘ n(x) + β) + b = (W ∘ γ) n(x) + (W β + b), where n normalises without scale or shift: what is computed a token no
longer depends on the head, and the gradients of γ and β come from those of small arrays. The bias is a column of the
matrix, against a channel of ones: adding it would be one more pass over the largest array there is.
"""

from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..decoder import TokenProjection
from ..heads.ground import Projection


class FoldedProjection(Projection):
    """The same map with the same parameters."""

    def forward(self, x: Float[Tensor, "*t i"]) -> Float[Tensor, "*t o"]:
        """(…, d_in) -> (…, d_out)."""
        return _fold(x, self.norm, self.linear)


class FoldedTokenProjection(TokenProjection):
    """The same map with the same parameters."""

    def forward(self, z: Float[Tensor, "b n v"]) -> Float[Tensor, "b n d"]:
        """(b, n, d_vlm) -> (b, n, dim)."""
        hidden = F.gelu(_fold(z, self.norm, self.inner))  # (b, n, 4 d_vlm)
        return cast(Tensor, self.skip(z) + self.drop(self.outer(hidden)))  # (b, n, dim)


FOLDED: dict[type[nn.Module], type[nn.Module]] = {
    Projection: FoldedProjection,
    TokenProjection: FoldedTokenProjection,
}


def fold(model: nn.Module) -> nn.Module:
    """Let a model compute its projections folded; its parameters and their names stay."""
    for module in model.modules():
        module.__class__ = FOLDED.get(type(module), type(module))
    return model


def _fold(x: Float[Tensor, "*t i"], norm: nn.LayerNorm, linear: nn.Linear) -> Float[Tensor, "*t o"]:
    normal = F.pad(F.layer_norm(x, norm.normalized_shape, eps=norm.eps), (0, 1), value=1.0)  # (…, i + 1)
    bias = F.linear(norm.bias, linear.weight, linear.bias)  # (o,)
    return F.linear(normal, torch.cat([linear.weight * norm.weight, bias[:, None]], dim=1))
