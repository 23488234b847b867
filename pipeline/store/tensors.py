"""Between tensors and stored numbers. The one module of the store that needs torch."""

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt16

from ..spec import FeatureSpec
from .int8 import ChannelScale, dequantise


def encode_bf16(tensor: Float[torch.Tensor, "*shape"]) -> UInt16[np.ndarray, "*shape"]:
    """bfloat16 bits of any floating tensor, rounded to nearest even if it is wider."""
    bits = tensor.detach().to("cpu", torch.bfloat16).contiguous().view(torch.uint16)
    stored: UInt16[np.ndarray, "*shape"] = bits.numpy()
    return stored


def decode_bf16(stored: UInt16[np.ndarray, "*shape"]) -> Float[torch.Tensor, "*shape"]:
    """The bfloat16 tensor whose bits these are; shares their memory."""
    return torch.from_numpy(stored).view(torch.bfloat16)


def encode(tensor: Float[torch.Tensor, "*shape"], spec: FeatureSpec) -> Shaped[np.ndarray, "*shape"]:
    """A tensor as a feature's tier stores it: uint16 bits or float32."""
    if spec.tier == "bf16":
        return encode_bf16(tensor)
    stored: Shaped[np.ndarray, "*shape"] = tensor.detach().to("cpu", torch.float32).contiguous().numpy()
    return stored


def decode(
    stored: Shaped[np.ndarray, "*stored"], spec: FeatureSpec, scale: ChannelScale | None = None
) -> Float[torch.Tensor, "*shape"]:
    """Stored numbers in their logical type.

    Args:
        stored: as a reader fills its buffer.
        spec: the feature.
        scale: what ``int8`` numbers are multiplied with (:attr:`~.reader.RowReader.channel_scale`).

    Returns:
        bfloat16 or float32 that shares the memory of ``stored``; float32 of its own for ``int8``.
    """
    if scale is not None:
        return torch.from_numpy(dequantise(stored, scale))
    return decode_bf16(stored) if spec.tier == "bf16" else torch.from_numpy(stored)
