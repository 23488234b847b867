"""Stored numbers as float32, on the host into buffers that are there already, or on a device."""

import numpy as np
import torch
from jaxtyping import BFloat16, Float, Float32, Shaped
from torch import Tensor

from ..pipeline.spec import INT8_SCALE_BYTES, FeatureSpec
from ..pipeline.store.int8 import ChannelScale, dequantise

SERIAL_NUMBERS = 1 << 15
"""Most numbers that torch copies in the thread it is called from; with more, every caller gets threads of its own."""


def widen(
    stored: Shaped[np.ndarray, " b *stored"], scale: ChannelScale | None, out: Float32[np.ndarray, " b *shape"]
) -> None:
    """Stored numbers as float32 into ``out`` (C-contiguous), in the calling thread alone."""
    if scale is not None:
        out[:] = dequantise(stored, scale)
    elif stored.dtype == np.uint16:
        _widen_bf16(torch.from_numpy(stored).view(torch.bfloat16), torch.from_numpy(out))
    else:
        out[:] = stored


def _widen_bf16(stored: BFloat16[Tensor, " b *shape"], out: Float32[Tensor, " b *shape"]) -> None:
    """One vectorised pass over both; exact, for a bfloat16 is a float32 whose lower half is 0."""
    pieces = zip(stored.view(-1).split(SERIAL_NUMBERS), out.view(-1).split(SERIAL_NUMBERS), strict=True)
    for narrow, wide in pieces:
        wide.copy_(narrow)


def to_float(
    stored: Shaped[Tensor, " b *stored"], spec: FeatureSpec, scale: ChannelScale | None
) -> Float[Tensor, " b *shape"]:
    """Stored numbers as float32 on the device where they are."""
    if scale is None:
        return stored.view(torch.bfloat16).float() if spec.tier == "bf16" else stored.float()
    numbers = stored[..., :-INT8_SCALE_BYTES].float()
    tokens = stored[..., -INT8_SCALE_BYTES:].contiguous().view(torch.float32)
    return numbers * tokens * torch.from_numpy(scale.array).to(stored.device)
