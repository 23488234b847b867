"""The CeDiRNet-3DoF detector: an image in, six dense maps out.

Center Direction Network for Grasping Point Localization on Cloths (IEEE RA-L 2024): every pixel votes for the nearest
corner by the direction towards it. A ConvNeXt encoder, a feature pyramid, and two heads; parameter names are those of
the authors' files, so that their weights load by name.

    channel 0  sin     (x_c - x) / R        towards the corner, horizontally
    channel 1  cos     (y_c - y) / R        towards the corner, vertically (y grows downwards)
    channel 2  radius  log10(R + 1)         R: distance to the corner in input pixels
    channel 3  dx/|d|, channel 4  dy/|d|    orientation of the corner, d = corner - second annotated point
    channel 5  never supervised
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ....pipeline.errors import WeightsError
from ....pipeline.spec import IMAGENET_MEAN, IMAGENET_STD
from .shape import STRIDE, DetectorShape

__all__ = ["CeDiRNetDetector", "DetectorShape", "infer_shape"]

GROUPS = 32  # of the normalisations, at the published widths


class CeDiRNetDetector(nn.Module):
    """RGB in [0, 1] to six raw maps of the same size."""

    mean: Tensor
    std: Tensor

    def __init__(self, shape: DetectorShape) -> None:
        super().__init__()
        self.shape = shape
        self.model = _PyramidModel(shape)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 6 h w"]:
        """Six maps; ValueError if a side is no multiple of 32."""
        if image.shape[-1] % STRIDE or image.shape[-2] % STRIDE:
            raise ValueError(f"CeDiRNet needs sides that are multiples of {STRIDE}, not {tuple(image.shape[-2:])}")
        if self.shape.in_channels == 3:
            image = (image - self.mean) / self.std
        first, second = self.model(image)  # (b, 4, h, w), (b, 2, h, w)
        return torch.cat([first[:, :3], second, first[:, 3:]], dim=1)


class _PyramidModel(nn.Module):
    def __init__(self, shape: DetectorShape) -> None:
        super().__init__()
        self.encoder = _Encoder(shape)
        self.decoder = _Pyramid(shape)
        self.segmentation_head_list = nn.ModuleList([_head(*shape.widths[1:], channels) for channels in shape.heads])

    def forward(self, image: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b k h w"]]:
        merged = self.decoder(self.encoder(image))  # (b, widths[1], h/4, w/4)
        return [head(merged) for head in self.segmentation_head_list]


class _Encoder(nn.Module):
    """timm's ConvNeXt, its four stages' outputs at strides 4, 8, 16 and 32."""

    def __init__(self, shape: DetectorShape) -> None:
        super().__init__()
        import timm

        sizes: dict[str, Any] = {"dims": shape.dims, "depths": shape.depths, "in_chans": shape.in_channels}
        self.model = timm.create_model("convnext_base", pretrained=False, features_only=True, **sizes)

    def forward(self, image: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b c h w"]]:
        maps: list[Tensor] = self.model(image)
        return maps


class _Pyramid(nn.Module):
    """Top-down pyramid; four branches brought to a quarter of the input's size and summed."""

    def __init__(self, shape: DetectorShape) -> None:
        super().__init__()
        (c2, c3, c4, c5), (width, branch, _) = shape.dims, shape.widths
        self.p5 = nn.Conv2d(c5, width, 1)
        self.p4, self.p3, self.p2 = _Skip(c4, width), _Skip(c3, width), _Skip(c2, width)
        self.seg_blocks = nn.ModuleList([_Branch(width, branch, doublings) for doublings in (3, 2, 1, 0)])
        self.dropout = nn.Dropout2d(0.2)

    def forward(self, maps: list[Float[Tensor, "b c h w"]]) -> Float[Tensor, "b k h4 w4"]:
        c2, c3, c4, c5 = maps
        p5 = self.p5(c5)
        p4 = self.p4(p5, c4)
        p3 = self.p3(p4, c3)
        p2 = self.p2(p3, c2)
        branches = [branch(level) for branch, level in zip(self.seg_blocks, (p5, p4, p3, p2), strict=True)]
        summed: Tensor = self.dropout(torch.stack(branches).sum(dim=0))
        return summed


class _Skip(nn.Module):
    """The level above at twice its size, plus this level's map."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.skip_conv = nn.Conv2d(channels, width, 1)

    def forward(self, above: Float[Tensor, "b k h w"], own: Float[Tensor, "b c hh ww"]) -> Tensor:
        doubled = functional.interpolate(above, scale_factor=2.0, mode="nearest")
        out: Tensor = doubled + self.skip_conv(own)
        return out


class _Branch(nn.Module):
    """max(1, n) convolutions to the branches' width, each followed by a doubling if n > 0."""

    def __init__(self, inputs: int, width: int, doublings: int) -> None:
        super().__init__()
        steps = [_ConvNormRelu(inputs, width)]
        steps += [_ConvNormRelu(width, width) for _ in range(doublings - 1)]
        self.block, self.doubles = nn.ModuleList(steps), doublings > 0

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 128 hh ww"]:
        for step in self.block:
            x = step(x)
            if self.doubles:
                x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
        return x


class _ConvNormRelu(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        norm = nn.GroupNorm(min(GROUPS, outputs // 2), outputs)
        self.block = nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), norm, nn.ReLU(inplace=True))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        out: Tensor = self.block(x)
        return out


def _head(inputs: int, width: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        _ConvNormRelu(inputs, width),
        nn.Upsample(scale_factor=4.0, mode="bilinear", align_corners=True),
        nn.Conv2d(width, channels, 3, padding=1),
    )


def infer_shape(state: Mapping[str, Tensor]) -> DetectorShape:
    """The detector that a state dict belongs to, read from its tensors' shapes alone.

    Raises:
        WeightsError: a tensor that would say so is missing.
    """
    encoder = "model.encoder.model."
    try:
        stem = state[encoder + "stem_0.weight"]
        dims = [state[f"{encoder}stages_{i}.blocks.0.norm.weight"].shape[0] for i in range(4)]
        last = [state[f"model.segmentation_head_list.{i}.2.weight"] for i in range(2)]
        pyramid = state["model.decoder.p5.weight"].shape[0]
        branch = state["model.decoder.seg_blocks.3.block.0.block.0.weight"].shape[0]
    except KeyError as error:
        raise WeightsError(
            "these are not the weights of a CeDiRNet-3DoF detector",
            found=f"no tensor {error.args[0]}",
            expected="a ConvNeXt encoder, a pyramid and two heads under the authors' names",
        ) from error
    depths = []
    for i in range(4):
        prefix = f"{encoder}stages_{i}.blocks."
        depths.append(len({name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)}))
    heads, widths = (int(last[0].shape[0]), int(last[1].shape[0])), (int(pyramid), int(branch), int(last[0].shape[1]))
    return DetectorShape(_four(dims), _four(depths), int(stem.shape[1]), heads, widths)


def _four(values: list[int]) -> tuple[int, int, int, int]:
    a, b, c, d = values
    return int(a), int(b), int(c), int(d)
