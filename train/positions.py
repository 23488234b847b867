"""Fixed sinusoidal codes for the cells of a grid."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def sinusoid(positions: Float[Tensor, " n"], channels: int) -> Float[Tensor, "n c"]:
    """e(p) = [sin(p w_0), cos(p w_0), sin(p w_1), …],  w_i = 10000^(-2i / channels).

    An odd number of channels ends with a sine. Source: Vaswani et al. 2017, section 3.5.
    """
    pairs = math.ceil(channels / 2)
    frequency = 10_000.0 ** (-2.0 * torch.arange(pairs) / max(channels, 1))  # (pairs,)
    angle = positions[:, None] * frequency  # (n, pairs)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :channels]  # (n, channels)


def grid_code(rows: int, columns: int, channels: int) -> Float[Tensor, "cells c"]:
    """The code of every cell, row-major: the first half of the channels says the row, the rest the column.

    The fixed two-dimensional encoding e_j of eq. 36 (paper); how channels are shared out is [open].

    Returns:
        (rows * columns, channels) float32.
    """
    half = channels // 2
    by_row = sinusoid(torch.arange(rows, dtype=torch.float32), half)  # (rows, half)
    by_column = sinusoid(torch.arange(columns, dtype=torch.float32), channels - half)  # (columns, channels - half)
    row = by_row[:, None].expand(rows, columns, half)
    column = by_column[None].expand(rows, columns, channels - half)
    return torch.cat([row, column], dim=-1).flatten(0, 1)  # (rows * columns, channels)
