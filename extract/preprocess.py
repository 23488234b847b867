"""uint8 frames -> network input, as an ImageSpec says; every frame alone, so that a batch cannot change it."""

import functools
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from ..pipeline.geometry import resized_size
from ..pipeline.spec import ImageSpec


def preprocess(
    frames: Sequence[UInt8[np.ndarray, "h w 3"] | UInt8[Tensor, "h w 3"]],
    image: ImageSpec,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "b 3 height width"]:
    """Turn RGB frames (each of its own size) into one batch of network inputs, float32.

    x = (rgb / 255 - mean) / std, then bilinear resizing (align_corners=False, no antialiasing), then for ``letterbox``
    zeros on the left and on top. The division is always by 255: LeRobot's processor decides it from the batch's
    maximum, which goes wrong on an almost black frame. Otherwise equal to LeRobot's X-VLA (``resize_with_pad``).

    Raises:
        ValueError: a frame is not uint8 RGB.
    """
    return torch.stack([_input_of(frame, image, device) for frame in frames])


def _input_of(
    frame: UInt8[np.ndarray, "h w 3"] | UInt8[Tensor, "h w 3"], image: ImageSpec, device: torch.device | str
) -> Float[Tensor, "3 height width"]:
    if frame.dtype not in (np.uint8, torch.uint8) or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"a frame is uint8 of shape (h, w, 3), not {frame.dtype} {frame.shape}")
    mean, std = (_channels(values, torch.device(device)) for values in (image.mean, image.std))
    pixels = frame if isinstance(frame, Tensor) else torch.from_numpy(np.ascontiguousarray(frame))
    rgb = pixels.to(device).permute(2, 0, 1).contiguous()  # (h, w, 3) -> (3, h, w)
    x = rgb.float().div_(255.0).sub_(mean).div_(std)
    height, width = resized_size(image, *frame.shape[:2])
    x = F.interpolate(x[None], size=(height, width), mode="bilinear", align_corners=False)[0]
    return F.pad(x, (image.width - width, 0, image.height - height, 0))  # left and top


@functools.cache
def _channels(values: tuple[float, ...], device: torch.device) -> Float[Tensor, "c 1 1"]:
    """One number a channel, sent to a device once: every such copy waits for the device."""
    return torch.tensor(values, device=device).view(-1, 1, 1)
