"""The learned localiser: direction maps to a response. What needs no weights lies in the pipeline's own corners."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ....pipeline.corners import HANDMADE_SCORE, WIDTHS, Blur, HandmadeLocaliser, Points, find_peaks

__all__ = ["HANDMADE_SCORE", "LEARNED_SCORE", "WIDTHS", "HandmadeLocaliser", "Localiser", "Points", "find_peaks"]

LEARNED_SCORE = 0.75


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
        self.gaussian_blur = Blur()

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
        """The raw response to ``cos`` and ``sin`` (channels 1 and 0, in this order)."""
        x = self.conv_start(maps[:, [1, 0]])
        x = torch.cat([dilated(x) for dilated in self.conv_dilations], dim=1)
        response: Tensor = self.conv_merge_fn(self.conv_end(x))
        return response


def _down(inputs: int, outputs: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _dilated(channels: int, dilation: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
    return [conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def _up(inputs: int, outputs: int) -> list[nn.Module]:
    conv = nn.ConvTranspose2d(inputs, outputs, 5, stride=2, padding=2, output_padding=1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
