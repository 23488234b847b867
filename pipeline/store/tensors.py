"""Between tensors and stored numbers. The one module of the store that needs torch."""

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt16

from ..spec import FeatureSpec


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


def decode(stored: Shaped[np.ndarray, "*shape"], spec: FeatureSpec) -> Float[torch.Tensor, "*shape"]:
    """Stored numbers in their logical type (bfloat16 or float32); shares their memory."""
    return decode_bf16(stored) if spec.tier == "bf16" else torch.from_numpy(stored)
