"""What the training targets are on average: means and spreads in closed form, one pass over their rows."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..pipeline.spec import FeatureSpec
from ..pipeline.store.format import stored_dtype
from .numbers import widen
from .sources import Source

type Per = Literal["none", "channel", "position"]
"""What statistics belong to: nothing, every channel, or every channel at every position."""

READ_ROWS = 64


@dataclass(frozen=True)
class TargetStatistics:
    """Mean and variance of every number of a row, over rows; variances are those of the rows themselves (1/n)."""

    mean: Float[Tensor, "*shape"]
    variance: Float[Tensor, "*shape"]

    def per_channel(self, axis: int) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
        """Mean and variance over rows and positions, with axes of size 1 in place of the positions.

        μ_c = mean_p μ_cp,  σ²_c = mean_p (σ²_cp + (μ_cp - μ_c)²)

        Args:
            axis: the axis of a row that holds channels.
        """
        others = [dim for dim in range(self.mean.dim()) if dim != axis % self.mean.dim()]
        mean = self.mean.mean(dim=others, keepdim=True)
        return mean, (self.variance + (self.mean - mean) ** 2).mean(dim=others, keepdim=True)


def measure(source: Source, rows: Int[np.ndarray, " n"]) -> TargetStatistics:
    """Statistics of some rows, in the order given; sums are float64 and relative to the first row."""
    spec, shift, total, square = source.spec, np.zeros(()), np.zeros(()), np.zeros(())
    stored = np.empty((READ_ROWS, *spec.stored_shape), stored_dtype(spec))
    values = np.empty((READ_ROWS, *spec.shape), np.float32)
    for start in range(0, len(rows), READ_ROWS):
        part = rows[start : start + READ_ROWS]
        source.fill(part, stored[: len(part)])
        widen(stored[: len(part)], source.channel_scale, values[: len(part)])
        shift = values[0].copy() if start == 0 else shift
        away = values[: len(part)] - shift
        total = total + away.sum(axis=0, dtype=np.float64)
        square = square + np.square(away).sum(axis=0, dtype=np.float64)
    mean = total / len(rows)
    variance = np.maximum(square / len(rows) - mean**2, 0.0)
    return TargetStatistics(torch.from_numpy(mean + shift), torch.from_numpy(variance))


class TargetScale(nn.Module):
    """(x - μ) / σ and back, with statistics of the training targets, which are part of the weights.

    Where targets do not vary (σ = 0) they are only shifted.

    Args:
        spec: of the targets.
        per: what μ and σ belong to; ``none`` changes nothing and holds nothing.
        channels: the axis of a row that holds channels.
        known: the statistics; None leaves μ = 0, σ = 1 until weights are loaded.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: FeatureSpec, per: Per, *, channels: int, known: TargetStatistics | None) -> None:
        super().__init__()
        self.changes = per != "none"
        if not self.changes:
            return
        shape = spec.shape
        if per == "channel":
            shape = tuple(size if axis == channels % len(shape) else 1 for axis, size in enumerate(shape))
        mean, variance = torch.zeros(shape), torch.ones(shape)
        if known is not None:
            mean, variance = known.per_channel(channels) if per == "channel" else (known.mean, known.variance)
        self.register_buffer("mean", mean.float())
        self.register_buffer("std", torch.where(variance > 0, variance.sqrt(), 1.0).float())

    def forward(self, targets: Float[Tensor, " b *shape"]) -> Float[Tensor, " b *shape"]:
        """Targets as the objective sees them."""
        return (targets - self.mean) / self.std if self.changes else targets

    def restore(self, scaled: Float[Tensor, " b *shape"]) -> Float[Tensor, " b *shape"]:
        """Predictions in the targets' own unit."""
        return scaled * self.std + self.mean if self.changes else scaled


class MeanTable(nn.Module):
    """The mean training target at every position, whatever is read: a control that needs no training step.

    Args:
        spec: of the targets.
        known: their statistics; None leaves zeros until weights are loaded.
        scale: what the objective sees targets through.
    """

    mean: Tensor

    def __init__(self, spec: FeatureSpec, known: TargetStatistics | None, scale: TargetScale | None = None) -> None:
        super().__init__()
        mean = torch.zeros(spec.shape) if known is None else known.mean.float()
        self.register_buffer("mean", mean if scale is None else scale(mean[None])[0])

    def forward(self, z: Float[Tensor, "b n v"]) -> Float[Tensor, " b *shape"]:
        """The same for every row of a batch."""
        return self.mean.expand(len(z), *self.mean.shape)
