"""How far rows made now lie from stored ones, token by token."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from ...pipeline.spec import FeatureSpec
from ...pipeline.store.distortion import cosines
from ...pipeline.store.int8 import ChannelScale


class Moved(NamedTuple):
    """Every row's worst token, (n,) each.

    Args:
        cosine: its cosine with itself.
        absolute: the largest difference of two of its numbers.
        relative: that as a share of the token's largest number.
    """

    cosine: Float[np.ndarray, " n"]
    absolute: Float[np.ndarray, " n"]
    relative: Float[np.ndarray, " n"]


def moved(stored: Float32[np.ndarray, " n *shape"], live: Float32[np.ndarray, " n *shape"], spec: FeatureSpec) -> Moved:
    """Compare rows with themselves; ``spec`` says what their tokens are."""
    a, b = (_tokens(values, spec).astype(np.float64) for values in (stored, live))
    change, size = np.abs(a - b).max(axis=1), np.abs(a).max(axis=1)
    relative = np.divide(change, size, out=np.where(change > 0, np.inf, 0.0), where=size > 0)
    cosine, absolute, share = (values.reshape(len(stored), -1) for values in (cosines(a, b), change, relative))
    return Moved(cosine.min(axis=1), absolute.max(axis=1), share.max(axis=1))


def nearest(
    stored: Float32[np.ndarray, " n *shape"], live: Float32[np.ndarray, " n *shape"], scale: ChannelScale
) -> Float32[np.ndarray, " n *shape"]:
    """Of all numbers that int8 stores as ``stored``, those nearest to ``live``.

    A stored number stands for half a step on both sides; a step is s_t * s_c, and a token's largest q is 127
    (:mod:`~...pipeline.store.int8`). So a live number that rounds to the other side of a border is not a whole step
    off.
    """
    token = np.abs(stored / scale.array).max(axis=-1, keepdims=True) / 127  # s_t
    half = 0.5 * token * scale.array
    return np.clip(live, stored - half, stored + half)


def _tokens(values: Float32[np.ndarray, " n *shape"], spec: FeatureSpec) -> Float32[np.ndarray, "tokens numbers"]:
    """One token a line. Of a teacher's maps (channels, rows, columns), a token is the whole map of one channel."""
    maps = len(spec.shape) == 3 and spec.shape[1:] == spec.layout.grid != spec.shape[:2]
    return values.reshape(-1, spec.layout.cells if maps else spec.shape[-1])
