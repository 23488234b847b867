"""A linear probe on the spatial tokens: the control that has no decoder."""

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from ...pipeline.spec import TokenLayout
from .ground import spatial_tokens


class LinearProbe(nn.Module):
    """a_j = w · z_j + b: one logit a spatial token, no normalisation, no position code.

    What a single linear map reads from Z^I without looking at any other token. A control of ours, not in the paper.

    Args:
        d_vlm: channels of Z.
        layout: where Z's spatial tokens lie.
    """

    def __init__(self, d_vlm: int, layout: TokenLayout) -> None:
        super().__init__()
        self.layout, self.linear = layout, nn.Linear(d_vlm, 1)

    def forward(self, z: Float[Tensor, "b n v"]) -> Float[Tensor, "b cells"]:
        """Tokens (b, n, d_vlm) -> logits (b, cells)."""
        return cast(Tensor, self.linear(spatial_tokens(z, self.layout))[..., 0])
