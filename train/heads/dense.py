"""The dense-map head: visual-thought tokens on a grid to maps of any size (paper, eq. 28-31)."""

from dataclasses import dataclass
from typing import cast

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ...pipeline.errors import ConfigError


@dataclass(frozen=True)
class DenseHeadConfig:
    """The ``head`` section of a dense recipe; its width is the decoder's."""

    grid: tuple[int, int] = (16, 16)
    """Rows and columns of the token grid, H_g and W_g; M is their product. The paper has 16 x 16 and 32 x 32."""

    def __post_init__(self) -> None:
        if min(self.grid) < 1:
            raise ConfigError("head.grid is too small", found=self.grid, expected="at least 1 x 1")


class DenseHead(nn.Module):
    """Project, reshape to the grid, refine with convolutions, upsample (paper, eq. 28-31).

    Two 3x3 convolutions with GELU and a 1x1 convolution; 312,067 parameters at dim 128 and 3 channels, as in
    the paper's table 2. The head's hidden width D_H equals ``dim``.

    Args:
        dim: channels of the visual-thought tokens.
        channels: maps to predict.
        grid: rows and columns of the token grid; M = rows * columns.
    """

    def __init__(self, dim: int, channels: int = 3, grid: tuple[int, int] = (32, 32)) -> None:
        super().__init__()
        self.grid = grid
        self.project = nn.Linear(dim, dim)
        self.refine = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(dim, dim, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(dim, channels, 1),
        )

    def forward(self, tokens: Float[Tensor, "b m d"], size: tuple[int, int]) -> Float[Tensor, "b c h w"]:
        """Tokens (b, rows * columns, dim) to maps (b, channels, height, width), ``size`` = (height, width).

        Raises:
            ConfigError: the number of tokens is not the grid's.
        """
        return upsample(self.on_grid(tokens), size)

    def on_grid(self, tokens: Float[Tensor, "b m d"]) -> Float[Tensor, "b c hg wg"]:
        """Ỹ = g_ω(reshape(p_γ(T))) at grid resolution (eq. 28-30)."""
        if tokens.shape[1] != self.grid[0] * self.grid[1]:
            raise ConfigError(
                "the dense head's grid does not hold the decoder's tokens",
                found=f"{tokens.shape[1]} tokens",
                expected=f"{self.grid[0]} x {self.grid[1]} = {self.grid[0] * self.grid[1]}",
            )
        hidden = self.project(tokens)  # (b, m, d)
        grid = hidden.transpose(1, 2).unflatten(2, self.grid)  # (b, d, hg, wg)
        return cast(Tensor, self.refine(grid))  # (b, c, hg, wg)


def upsample(maps: Float[Tensor, "b c hg wg"], size: tuple[int, int]) -> Float[Tensor, "b c h w"]:
    """Ŷ = Upsample(Ỹ, H, W), bilinear, ``align_corners=False`` (paper, eq. 31); maps of that size stay as they are."""
    if maps.shape[2:] == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
