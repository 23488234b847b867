"""Tokens as colours: three principal components of an expert's tokens, which every other token is measured by."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

CHANNELS = 3
TAILS = (1.0, 99.0)  # per cent of the expert's tokens that may lie outside the colours' range


@dataclass(frozen=True)
class TokenColours:
    """Red, green and blue are the first, second and third principal component of the tokens they were fitted on.

    c_k = ((x - μ) · v_k - low_k) / (high_k - low_k), cut to [0, 1]; 0.5 where the tokens do not vary along v_k.

    *Symbols*: μ the tokens' mean, v_k their k-th principal direction, low_k and high_k the 1st and 99th percentile of
    their projections. The sign of v_k makes its largest component positive, so equal tokens give equal colours.

    Args:
        mean: μ, (d,).
        directions: v_k, (3, d).
        low: low_k, (3,).
        high: high_k, (3,).
    """

    mean: Float[np.ndarray, " d"]
    directions: Float[np.ndarray, "3 d"]
    low: Float[np.ndarray, " 3"]
    high: Float[np.ndarray, " 3"]

    @classmethod
    def fit(cls, tokens: Float[np.ndarray, "n d"]) -> "TokenColours":
        """The colours of an expert: its tokens of all frames together, one row a token."""
        x = np.asarray(tokens, dtype=np.float64)
        mean = x.mean(axis=0)
        found = np.linalg.svd(x - mean, full_matrices=False)[2][:CHANNELS]  # (<= 3, d)
        directions = np.zeros((CHANNELS, x.shape[1]))
        largest = np.abs(found).argmax(axis=1)
        directions[: len(found)] = found * np.sign(found[np.arange(len(found)), largest])[:, None]
        low, high = np.percentile((x - mean) @ directions.T, TAILS, axis=0)
        return cls(mean, directions, low, high)

    def __call__(self, tokens: Float[np.ndarray, "*n d"]) -> Float[np.ndarray, "*n 3"]:
        """Colours of any tokens of the same width, in [0, 1]."""
        projected = (np.asarray(tokens, dtype=np.float64) - self.mean) @ self.directions.T
        span = self.high - self.low
        varies = span > 1e-9 * max(1.0, float(np.abs(self.mean).max()))
        scaled = (projected - self.low) / np.where(varies, span, 1.0)
        colours: Float[np.ndarray, "*n 3"] = np.where(varies, np.clip(scaled, 0.0, 1.0), 0.5)
        return colours
