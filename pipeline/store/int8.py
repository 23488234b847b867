"""Eight bits a number: a scale a token times a scale a channel.

    q = round(x / (s_t * s_c)),   s_c = standard deviation of channel c over training episodes,
                                  s_t = max_c |x_c / s_c| / 127                        (x_c of token t)

A few channels of a transformer's tokens are far larger than the others, and a few tokens too; with both scales apart
neither steals the other's resolution. A stored token is its numbers followed by s_t as four bytes (little-endian
float32), so that a row is complete in itself; s_c stands in the array's metadata. The last axis of a row is the
channels, all others are tokens.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int8

from ..errors import StoreError
from ..spec import INT8_SCALE_BYTES

_LARGEST = 127


@dataclass(frozen=True)
class ChannelScale:
    """What every channel is divided by before rounding.

    Args:
        values: one positive number a channel (float32 values).
        rows: how many rows it was measured on.
        measured_on: which rows: the manifest, its split and the episodes.
    """

    values: tuple[float, ...]
    rows: int
    measured_on: str

    def fits(self, channels: int) -> bool:
        """Whether it is one finite positive number for every channel."""
        return len(self.values) == channels and all(
            type(value) is float and math.isfinite(value) and value > 0 for value in self.values
        )

    @property
    def array(self) -> Float32[np.ndarray, " channels"]:
        """The values as float32."""
        return np.array(self.values, np.float32)


def quantise(x: Float32[np.ndarray, "*tokens channels"], scale: ChannelScale) -> Int8[np.ndarray, "*tokens stored"]:
    """Numbers as int8, each token with its scale behind it (``stored`` = channels + 4).

    Raises:
        StoreError: a number is not finite, or so much larger than its channel's scale that the quotient is not.
    """
    if not np.isfinite(x).all():
        raise StoreError("int8 cannot hold NaN or infinite numbers", remedy="find them with `vtt store verify`")
    with np.errstate(over="ignore"):
        scaled = x / scale.array
    token = (np.abs(scaled).max(axis=-1, keepdims=True) / _LARGEST).astype("<f4")  # (*tokens, 1)
    if not np.isfinite(token).all():
        raise StoreError(
            "a number is too large beside its channel's scale", remedy="measure the scale on other episodes"
        )
    numbers = np.rint(np.divide(scaled, token, out=np.zeros_like(scaled), where=token > 0))
    clipped = np.clip(numbers, -_LARGEST, _LARGEST).astype(np.int8)
    return np.concatenate([clipped, token.view(np.int8)], axis=-1)


def token_scales(stored: Int8[np.ndarray, "*tokens stored"]) -> Float32[np.ndarray, "*tokens"]:
    """The scale of every stored token."""
    tails = np.ascontiguousarray(stored[..., -INT8_SCALE_BYTES:])
    scales: Float32[np.ndarray, "*tokens"] = tails.view("<f4")[..., 0]
    return scales


def dequantise(
    stored: Int8[np.ndarray, "*tokens stored"], scale: ChannelScale
) -> Float32[np.ndarray, "*tokens channels"]:
    """What :func:`quantise` stored, to within half a step; NaN wherever a scale is NaN."""
    numbers = stored[..., :-INT8_SCALE_BYTES].astype(np.float32)
    return numbers * token_scales(stored)[..., None] * scale.array
