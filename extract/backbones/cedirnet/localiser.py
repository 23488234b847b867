"""From direction maps to points: a learned localiser, one made by hand, and the peaks of their response.

Both look for the place towards which the directions around it point: right of a corner ``sin`` is negative, left of it
positive, and likewise ``cos`` below and above.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (3, 9, 15, 21, 31, 51, 65)
BORDER, RADIUS, FLOOR = 5, 5, 0.01  # px from every border; half a side of the window of a peak; least response
LEARNED_SCORE, HANDMADE_SCORE = 0.75, 0.1


class Points(NamedTuple):
    """The points of one image, best first.

    ``xy`` (n, 2) in input pixels, ``score`` (n,), ``angle`` (n,) in radians, atan2(dy, dx) of the corner's orientation.
    """

    xy: Float[Tensor, "n 2"]
    score: Float[Tensor, " n"]
    angle: Float[Tensor, " n"]


class Localiser(nn.Module):
    """The learned localiser: an hourglass with four dilations, named as in the authors' files."""

    def __init__(self, channels: int = 16, dilations: tuple[int, ...] = (1, 4, 8, 12)) -> None:
        super().__init__()
        one, two = channels, 2 * channels
        self.conv_start = nn.Sequential(
            *_down(2, one), *_down(one, one), *_down(one, two), *_down(two, two),
        )  # fmt: skip
        self.conv_dilations = nn.ModuleList([nn.Sequential(*_dilated(two, dilation)) for dilation in dilations])
        self.conv_end = nn.Sequential(
            *_up(len(dilations) * two, two), *_up(two, two), *_up(two, one), *_up(one, one),
        )  # fmt: skip
        self.conv_merge_fn = nn.Conv2d(one, 1, 3, padding=1)
        self.gaussian_blur = _Blur()

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
        """The raw response to ``cos`` and ``sin`` (channels 1 and 0, in this order)."""
        x = self.conv_start(maps[:, [1, 0]])
        x = torch.cat([dilated(x) for dilated in self.conv_dilations], dim=1)
        response: Tensor = self.conv_merge_fn(self.conv_end(x))
        return response


class HandmadeLocaliser(nn.Module):
    """Odd box kernels of seven widths: 2.0 at a perfect corner.

    r(p) = max over w of (k_w * cos, vertically)(p) + (k_w * sin, horizontally)(p)
    k_w  = (+1 … +1, 0, -1 … -1) / (w - 1)
    """

    def __init__(self) -> None:
        super().__init__()
        widest = max(WIDTHS)
        kernels = torch.zeros(len(WIDTHS), widest)
        for row, width in enumerate(WIDTHS):
            half, start = (width - 1) // 2, (widest - width) // 2
            kernels[row, start : start + half] = 1 / (width - 1)
            kernels[row, start + half + 1 : start + width] = -1 / (width - 1)
        self.register_buffer("kernels", kernels, persistent=False)
        self.gaussian_blur = _Blur()

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
        """The response; zeros lie outside the maps."""
        kernels, reach = torch.as_tensor(self.kernels), max(WIDTHS) // 2
        sin, cos = maps[:, 0:1], maps[:, 1:2]
        vertical = functional.conv2d(cos, kernels[:, None, :, None].to(maps), padding=(reach, 0))
        horizontal = functional.conv2d(sin, kernels[:, None, None, :].to(maps), padding=(0, reach))
        return (vertical + horizontal).amax(dim=1, keepdim=True)


def find_peaks(
    response: Float[Tensor, "b 1 h w"], blur: nn.Module, maps: Float[Tensor, "b 6 h w"], least: float
) -> list[Points]:
    """The peaks of a response, image by image.

    h = ReLU(response), b = blur(h). A pixel is a peak if b equals the maximum of b in the 11 x 11 window round it,
    h > 0.01, and it lies at least 5 px from every border; its score is h. Scores above ``least`` are kept.
    """
    height = functional.relu(response)
    blurred = blur(height)
    highest = functional.max_pool2d(blurred, 2 * RADIUS + 1, stride=1, padding=RADIUS)
    peak = (blurred == highest) & (height > FLOOR) & (height > least)
    inside = torch.zeros_like(peak)
    inside[..., BORDER:-BORDER, BORDER:-BORDER] = True
    peak &= inside
    return [_points(peak[i, 0], height[i, 0], maps[i]) for i in range(len(response))]


def _points(peak: Tensor, height: Float[Tensor, "h w"], maps: Float[Tensor, "6 h w"]) -> Points:
    y, x = torch.nonzero(peak, as_tuple=True)
    score, order = height[y, x].sort(descending=True, stable=True)
    y, x = y[order], x[order]
    return Points(torch.stack([x, y], dim=1).float(), score, torch.atan2(maps[4, y, x], maps[3, y, x]))


class _Blur(nn.Module):
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
        blurred: Tensor = self.conv(x)
        return blurred


def _down(inputs: int, outputs: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _dilated(channels: int, dilation: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
    return [conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def _up(inputs: int, outputs: int) -> list[nn.Module]:
    conv = nn.ConvTranspose2d(inputs, outputs, 5, stride=2, padding=2, output_padding=1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
