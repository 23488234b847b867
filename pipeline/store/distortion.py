"""How far numbers moved, token by token.

With x a token and y what is given back for it:

    cosine = <x, y> / (|x| |y|)      token error = |y - x| / |x|      relative error = sqrt(Σ|y - x|² / Σ|x|²)

*Symbols*: the last axis is a token's channels; sums run over all tokens. A token of zeros that stays one has cosine 1
and error 0; one that does not has cosine 0 and error infinity.
"""

import math

import numpy as np
from jaxtyping import Float32, Float64


def cosines(x: Float64[np.ndarray, "n c"], y: Float64[np.ndarray, "n c"]) -> Float64[np.ndarray, " n"]:
    """The cosine of every token."""
    a, b = np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)
    known = (a > 0) & (b > 0)
    found = np.divide(np.einsum("nc,nc->n", x, y), a * b, out=np.zeros(len(x)), where=known)
    found[(x == y).all(axis=1)] = 1.0
    return np.clip(found, -1.0, 1.0)


def token_errors(x: Float64[np.ndarray, "n c"], y: Float64[np.ndarray, "n c"]) -> Float64[np.ndarray, " n"]:
    """How far every token moved, relative to its size."""
    size, moved = np.linalg.norm(x, axis=1), np.linalg.norm(y - x, axis=1)
    return np.divide(moved, size, out=np.where(moved > 0, np.inf, 0.0), where=size > 0)


class Distortion:
    """Sums over tokens, added to block by block."""

    def __init__(self) -> None:
        self.tokens = 0
        self.cosine_worst, self.token_error_worst = 1.0, 0.0
        self._cosines = self._moved = self._squares = 0.0

    def add(self, x: Float32[np.ndarray, "*tokens channels"], y: Float32[np.ndarray, "*tokens channels"]) -> None:
        """Compare what is given back (y) with the numbers themselves (x)."""
        a, b = (values.reshape(-1, values.shape[-1]).astype(np.float64) for values in (x, y))
        cosine = cosines(a, b)
        self.tokens += len(a)
        self.cosine_worst = min(self.cosine_worst, float(cosine.min()))
        self.token_error_worst = max(self.token_error_worst, float(token_errors(a, b).max()))
        self._cosines += float(cosine.sum())
        self._moved += float(((b - a) ** 2).sum())
        self._squares += float((a**2).sum())

    @property
    def cosine_mean(self) -> float:
        """Over all tokens."""
        return self._cosines / self.tokens

    @property
    def relative_error(self) -> float:
        """sqrt(Σ|y - x|² / Σ|x|²)."""
        if not self._moved:
            return 0.0
        return math.sqrt(self._moved / self._squares) if self._squares else math.inf
