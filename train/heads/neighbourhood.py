"""The fine positions in and around a coarse cell (paper, section 2.2.3: a 2x2 block inside a 4x4 neighbourhood)."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ...pipeline.errors import ConfigError


class Neighbourhood(nn.Module):
    """Gathers, for every candidate cell, its own block of the fine map plus a ring of one.

    Beyond the map's border the edge is repeated, and the repeats are marked as not valid.

    Args:
        coarse: rows and columns of the coarse grid.
        fine: rows and columns of the fine map: the same whole multiple (the factor) of both.

    Raises:
        ConfigError: the fine map is no such multiple.
    """

    index: Tensor
    valid: Tensor
    own: Tensor

    def __init__(self, coarse: tuple[int, int], fine: tuple[int, int]) -> None:
        super().__init__()
        factor = fine[0] // coarse[0]
        if factor < 1 or fine != (coarse[0] * factor, coarse[1] * factor):
            raise ConfigError(
                "the fine map's grid must be a whole multiple of the coarse grid",
                found=f"fine {fine[0]} x {fine[1]}, coarse {coarse[0]} x {coarse[1]}",
                remedy="choose another feature for r, or set head.refine=false",
            )
        self.window = (factor + 2, factor + 2)
        index, valid = _window_of_cells(coarse, fine, factor)
        inner = torch.arange(1, factor + 1)
        self.register_buffer("index", index, persistent=False)  # (cells, s) position in the flat fine map
        self.register_buffer("valid", valid, persistent=False)  # (cells, s)
        own = inner[:, None] * (factor + 2) + inner  # (factor, factor) places of the own block in the window
        self.register_buffer("own", own.flatten(), persistent=False)  # (u,)

    def forward(
        self, fine: Float[Tensor, "b h w c"], cells: Int[Tensor, "b k"]
    ) -> tuple[Float[Tensor, "b k s c"], Bool[Tensor, "b k s"]]:
        """Fine map (b, h, w, c), cells (b, k) -> (local features (b, k, s, c), which are no repeats (b, k, s))."""
        positions = self.index[cells]  # (b, k, s)
        batch = torch.arange(len(fine), device=fine.device)[:, None, None]  # (b, 1, 1)
        return fine.flatten(1, 2)[batch, positions], self.valid[cells]


def _window_of_cells(
    coarse: tuple[int, int], fine: tuple[int, int], factor: int
) -> tuple[Int[Tensor, "cells s"], Bool[Tensor, "cells s"]]:
    row, row_inside = _window_of_line(coarse[0], factor, fine[0])  # (rows, f + 2)
    column, column_inside = _window_of_line(coarse[1], factor, fine[1])  # (columns, f + 2)
    index = row[:, None, :, None] * fine[1] + column[None, :, None, :]  # (rows, columns, f + 2, f + 2)
    valid = row_inside[:, None, :, None] & column_inside[None, :, None, :]
    return index.flatten(2).flatten(0, 1), valid.flatten(2).flatten(0, 1)  # (cells, s)


def _window_of_line(cells: int, factor: int, size: int) -> tuple[Int[Tensor, "n f"], Bool[Tensor, "n f"]]:
    place = torch.arange(cells)[:, None] * factor + torch.arange(-1, factor + 1)  # (cells, f + 2)
    return place.clamp(0, size - 1), (place >= 0) & (place < size)
