"""Linear probes on the spatial tokens: the controls that have no decoder."""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...pipeline.spec import TokenLayout
from .dense import upsample
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


class ResampledProbe(nn.Module):
    """x_p = Σ_j w_pj (W z_j + b): one linear map of every spatial token, interpolated bilinearly to another grid.

    *Symbols*: w_pj the weights of the interpolation between cell centres, which add up to 1 at every place p. A control
    of ours, not in the paper.

    Args:
        d_vlm: channels of Z.
        layout: where Z's spatial tokens lie.
        channels: of the output.
        grid: rows and columns of the output.
    """

    def __init__(self, d_vlm: int, layout: TokenLayout, channels: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.layout, self.grid, self.linear = layout, grid, nn.Linear(d_vlm, channels)

    def forward(self, z: Float[Tensor, "b n v"]) -> Float[Tensor, "b c h w"]:
        """Tokens (b, n, d_vlm) -> maps (b, channels, rows, columns)."""
        cells = self.linear(spatial_tokens(z, self.layout))  # (b, cells, c)
        return upsample(cells.transpose(1, 2).unflatten(2, self.layout.grid), self.grid)


class TokenProbe(nn.Module):
    """A :class:`ResampledProbe` for every patch token, and one linear map of the mean spatial token for the others.

    Args:
        d_vlm: channels of Z.
        layout: where Z's spatial tokens lie.
        dim: channels of the output.
        target: the output's layout: its prefix tokens (class token, registers) come first, then its grid.
    """

    def __init__(self, d_vlm: int, layout: TokenLayout, dim: int, target: TokenLayout) -> None:
        super().__init__()
        self.layout, self.target = layout, target
        self.patches = ResampledProbe(d_vlm, layout, dim, target.grid)
        self.prefix = nn.Linear(d_vlm, target.prefix * dim) if target.prefix else None

    def forward(self, z: Float[Tensor, "b n v"]) -> Float[Tensor, "b m d"]:
        """Tokens (b, n, d_vlm) -> tokens (b, prefix + cells, dim)."""
        patches = self.patches(z).flatten(2).transpose(1, 2)  # (b, cells, d)
        if self.prefix is None:
            return cast(Tensor, patches)
        mean = spatial_tokens(z, self.layout).mean(dim=1)  # (b, d_vlm)
        prefix = self.prefix(mean).unflatten(1, (self.target.prefix, -1))  # (b, prefix, d)
        return torch.cat([prefix, patches], dim=1)
