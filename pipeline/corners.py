"""From direction maps to points, without anything learned: a localiser made by hand, and the peaks of a response.

It looks for the place towards which the directions around it point: right of a corner ``sin`` is negative, left of it
positive, and likewise ``cos`` below and above.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (3, 9, 15, 21, 31, 51, 65)
BORDER, RADIUS, FLOOR = 5, 5, 0.01  # px from every border; half a side of the window of a peak; least response
HANDMADE_SCORE = 0.1


class Points(NamedTuple):
    """The points of one image, best first.

    ``xy`` (n, 2) in input pixels (whole numbers: indices of columns and rows), ``score`` (n,), ``angle`` (n,) in
    radians, atan2(dy, dx) of the corner's orientation; NaN where the maps do not hold it.
    """

    xy: Float[Tensor, "n 2"]
    score: Float[Tensor, " n"]
    angle: Float[Tensor, " n"]


class HandmadeLocaliser(nn.Module):
    """Odd box kernels of seven widths: 2.0 at a perfect corner.

    r(p) = max over w of (k_w * cos, vertically)(p) + (k_w * sin, horizontally)(p)
    k_w  = (+1 … +1, 0, -1 … -1) / (w - 1)
    """

    def __init__(self) -> None:
        super().__init__()
        self.gaussian_blur = Blur()

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
        """The response to ``sin`` and ``cos`` (channels 0 and 1); zeros lie outside the maps."""
        horizontal, vertical = RunningSums(maps[:, 0:1], dim=3), RunningSums(maps[:, 1:2], dim=2)
        best = horizontal.odd_box(WIDTHS[0]) + vertical.odd_box(WIDTHS[0])
        for width in WIDTHS[1:]:
            best = torch.maximum(best, horizontal.odd_box(width) + vertical.odd_box(width))
        return best


class RunningSums:
    """S_i = Σ_{j < i} x_j along one axis, zeros beyond both ends: a box of any width costs two differences."""

    def __init__(self, x: Float[Tensor, "b 1 h w"], dim: int) -> None:
        self.dim, self.size, self.reach = dim, x.shape[dim], max(WIDTHS) // 2
        before = [0, 0, 0, 0]
        before[2 * (3 - dim)], before[2 * (3 - dim) + 1] = self.reach + 1, self.reach
        self.sums = functional.pad(x, before).cumsum(dim)
        self.middle = self._at(0) + self._at(1)

    def odd_box(self, width: int) -> Float[Tensor, "b 1 h w"]:
        """(Σ_{i=1..m} x_{p-i} - Σ_{i=1..m} x_{p+i}) / (w - 1) with m = (w - 1) / 2, at every p."""
        half = (width - 1) // 2
        return (self.middle - self._at(-half) - self._at(half + 1)) / (width - 1)

    def _at(self, shift: int) -> Float[Tensor, "b 1 h w"]:
        return self.sums.narrow(self.dim, self.reach + shift, self.size)


def find_peaks(
    response: Float[Tensor, "b 1 h w"], blur: nn.Module, maps: Float[Tensor, "b c h w"], least: float
) -> list[Points]:
    """The peaks of a response, image by image.

    h = ReLU(response), b = blur(h). A pixel is a peak if b equals the maximum of b in the 11 x 11 window round it,
    h > 0.01, and it lies at least 5 px from every border; its score is h. Scores above ``least`` are kept.

    Args:
        response: of a localiser.
        blur: the localiser's own.
        maps: what it answered to; channels 3 and 4, if there are any, give the angle.
        least: scores above it are kept.
    """
    height = functional.relu(response)
    blurred = blur(height)
    peak = (blurred == running_max(running_max(blurred, 2), 3)) & (height > FLOOR) & (height > least)
    inside = torch.zeros_like(peak)
    inside[..., BORDER:-BORDER, BORDER:-BORDER] = True
    peak &= inside
    return [_points(peak[i, 0], height[i, 0], maps[i]) for i in range(len(response))]


def running_max(x: Float[Tensor, "b 1 h w"], dim: int) -> Float[Tensor, "b 1 h w"]:
    """The maximum over the 11 places round each one along an axis; what lies outside does not count.

    By doubling windows of 2, 4 and 8 places: exact, and far faster on a CPU than a pooling layer.
    """
    border = (0, 0, RADIUS, RADIUS) if dim == 2 else (RADIUS, RADIUS)
    window = functional.pad(x, border, value=-torch.inf)
    for step in (1, 2, 4, 2 * RADIUS + 1 - 8):
        length = window.shape[dim] - step
        window = torch.maximum(window.narrow(dim, 0, length), window.narrow(dim, step, length))
    return window


def _points(peak: Tensor, height: Float[Tensor, "h w"], maps: Float[Tensor, "c h w"]) -> Points:
    y, x = torch.nonzero(peak, as_tuple=True)
    score, order = height[y, x].sort(descending=True, stable=True)
    y, x = y[order], x[order]
    turned = len(maps) > 4
    angle = torch.atan2(maps[4, y, x], maps[3, y, x]) if turned else torch.full_like(score, torch.nan)
    return Points(torch.stack([x, y], dim=1).float(), score, angle)


class Blur(nn.Module):
    """A 7 x 7 Gaussian of one pixel's sigma; zeros outside. The authors' files hold its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 7, padding=3, bias=False)
        place = torch.arange(-3, 4, dtype=torch.float64)
        line = torch.exp(-(place**2) / 2)
        line /= line.sum()
        with torch.no_grad():
            self.conv.weight.copy_((line[:, None] * line[None, :]).float()[None, None])
        self.conv.weight.requires_grad_(False)

    def forward(self, x: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """(b, 1, h, w) -> the same, blurred."""
        padded = functional.pad(x, (3, 3, 3, 3))
        weight, (height, width) = self.conv.weight[0, 0], x.shape[2:]
        blurred = torch.zeros_like(x)
        for row in range(7):  # a convolution of one channel: five times slower on a CPU
            for column in range(7):
                blurred += weight[row, column] * padded[:, :, row : row + height, column : column + width]
        return blurred
