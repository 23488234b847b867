"""Stored numbers as float32, on the host into buffers that are there already, or on a device."""

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped
from torch import Tensor

from ..pipeline.spec import INT8_SCALE_BYTES, FeatureSpec
from ..pipeline.store.int8 import ChannelScale, dequantise


def widen(
    stored: Shaped[np.ndarray, "b *stored"], scale: ChannelScale | None, out: Float32[np.ndarray, "b *shape"]
) -> None:
    """Stored numbers as float32 into ``out``; bfloat16 bits are the upper half of a float32's."""
    if scale is not None:
        out[:] = dequantise(stored, scale)
    elif stored.dtype == np.uint16:
        np.left_shift(stored, np.uint32(16), out=out.view(np.uint32), dtype=np.uint32)
    else:
        out[:] = stored


def to_float(
    stored: Shaped[Tensor, "b *stored"], spec: FeatureSpec, scale: ChannelScale | None
) -> Float[Tensor, "b *shape"]:
    """Stored numbers as float32 on the device where they are."""
    if scale is None:
        return stored.view(torch.bfloat16).float() if spec.tier == "bf16" else stored.float()
    numbers = stored[..., :-INT8_SCALE_BYTES].float()
    tokens = stored[..., -INT8_SCALE_BYTES:].contiguous().view(torch.float32)
    return numbers * tokens * torch.from_numpy(scale.array).to(stored.device)
