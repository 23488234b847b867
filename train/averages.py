"""A moving average of a model's weights, judged and saved in the model's place."""

from copy import deepcopy

import torch
from torch import nn


def average_of(model: nn.Module) -> nn.Module:
    """A copy that starts the average; it takes no gradients."""
    return deepcopy(model).eval().requires_grad_(False)


def decay_at(step: int, decay: float) -> float:
    """d_s = min(d, (1 + s) / (10 + s)): the first weights, which know nothing, are forgotten at once.

    *Symbols*: s the steps done, d the decay of a long run.
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, *, step: int, decay: float) -> None:
    """θ̄ ← d_s θ̄ + (1 - d_s) θ after step ``step`` (counted from 0), in place; buffers are copied as they are."""
    share = 1.0 - decay_at(step + 1, decay)
    for old, new in zip(average.parameters(), model.parameters(), strict=True):
        old.lerp_(new, share)
    for held, now in zip(average.buffers(), model.buffers(), strict=True):
        held.copy_(now)
