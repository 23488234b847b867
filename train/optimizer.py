"""AdamW with decay groups, and the learning rate over the steps."""

from collections.abc import Iterator
from math import cos, pi

import torch
from torch import Tensor, nn

from .config import OptimizerConfig, SchedulerConfig


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW in two groups: matrices and kernels decay; norms, biases, gates and query banks do not."""
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in named_trainable(model):
        (decayed if decays(name, parameter) else kept).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]] or groups, lr=config.lr, betas=config.betas, fused=True
    )


def decays(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies: to everything with two or more axes but learned query tables."""
    return parameter.ndim >= 2 and name.rpartition(".")[2] not in ("queries", "query_positions")


def named_trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters that are trained, in the module's own order."""
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def rate_factor(step: int, steps: int, config: SchedulerConfig) -> float:
    """η(s) / η_peak: (s + 1) / warm-up while it lasts, then 1, or f + (1 - f) (1 + cos πt) / 2.

    *Symbols*: t the share of the steps after the warm-up that are done, f ``final_ratio``.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.name == "constant":
        return 1.0
    done = (step - config.warmup_steps) / max(steps - config.warmup_steps, 1)
    return config.final_ratio + (1.0 - config.final_ratio) * 0.5 * (1.0 + cos(pi * min(done, 1.0)))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate
