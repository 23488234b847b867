"""Clipping and AdamW of many heads of one shape, each with its own rate, betas, decay and norm of the gradient.

A head's moments stay the state of its own optimiser, as slices of the stacked ones: checkpoints, and the optimiser
itself, find them where they always are.
"""

from collections.abc import Container, Mapping, Sequence, Set
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..optimizer import rate_factor, set_rate
from ..state import Racer, Run
from .table import Table

ROOM = 1e-6
"""What torch's clipping adds to a norm before it divides by it."""
MOMENTS = ("exp_avg", "exp_avg_sq")


class JointAdamW:
    """The step of n heads on gradients that stand side by side.

    The numbers are those of :func:`~visual_thought.train.step.update` head by head but for rounding.

    Args:
        entries: the heads; their optimisers are AdamW, and have taken the same number of steps with every parameter.
        weights: the parameters of all heads that have gradients, those of one optimiser group next to each other.
    """

    def __init__(self, entries: Sequence[tuple[Run, Racer]], weights: Table) -> None:
        self._entries, self._weights = entries, weights
        heads = [{name: r.contender.model.get_parameter(name) for name in weights.places} for _, r in entries]
        states = [
            {name: r.optimizer.state[p] for name, p in h.items()} for (_, r), h in zip(entries, heads, strict=True)
        ]
        self._steps = torch.stack([torch.stack([_step(state) for state in head.values()]) for head in states])
        self._steps = self._steps.to(weights.rows.device)  # (n, parameters)
        self._first, self._second = (_stacked_moments(states, weights, moment) for moment in MOMENTS)
        for number, head in enumerate(states):
            for column, (name, state) in enumerate(head.items()):
                first, second = self._first.own(number, name), self._second.own(number, name)
                state.update(step=self._steps[number, column], exp_avg=first, exp_avg_sq=second)
        self._groups = [_columns(racer, weights) for _, racer in entries]

    @property
    def names(self) -> Set[str]:
        """The parameters that take the step."""
        return self._weights.places.keys()

    def step(self, gradients: Mapping[str, Float[Tensor, " n *shape"]], step: int, live: Sequence[int]) -> None:
        """Clip and step the heads numbered ``live``; the others keep their weights and moments."""
        rows = torch.cat([gradients[name].flatten(1) for name in self._weights.places], dim=1)  # (n, p)
        norms = torch.linalg.vector_norm(rows, dim=1)  # (n,)
        for number in live:
            run, racer = self._entries[number]
            config = run.config.optimizer
            clip = config.grad_clip_norm
            divisor = ((norms[number] + ROOM) / clip).clamp(min=1.0) if clip > 0 else None  # ()
            set_rate(racer.optimizer, config.lr * rate_factor(step, run.config.steps, run.config.scheduler))
            self._steps[number] += 1
            for group, columns in zip(racer.optimizer.param_groups, self._groups[number], strict=True):
                self._advance(number, rows, columns, group, divisor)

    def _advance(
        self, number: int, rows: Float[Tensor, "n p"], columns: slice, group: Mapping[str, Any], divisor: Tensor | None
    ) -> None:
        """The step of one optimiser group of one head: torch's own kernel, on one long tensor."""
        torch._fused_adamw_(
            [self._weights.rows[number, columns]],
            [rows[number, columns]],
            [self._first.rows[number, columns]],
            [self._second.rows[number, columns]],
            [],
            [self._steps[number, 0]],
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
            grad_scale=divisor,
        )


def by_group(racer: Racer, names: Container[str]) -> dict[str, Tensor]:
    """Some parameters by name, those of one optimiser group next to each other."""
    named = {id(parameter): name for name, parameter in racer.contender.model.named_parameters()}
    ordered = {named[id(p)]: p for group in racer.optimizer.param_groups for p in group["params"]}
    return {name: parameter for name, parameter in ordered.items() if name in names}


def can_join(entries: Sequence[tuple[Run, Racer]], names: Container[str]) -> bool:
    """Whether the optimisers are AdamW, and have taken as many steps with every one of these parameters of a head."""
    for _, racer in entries:
        taken = {float(_step(racer.optimizer.state.get(p, {}))) for p in by_group(racer, names).values()}
        if len(taken) != 1 or not isinstance(racer.optimizer, torch.optim.AdamW):
            return False
    return True


def _step(state: Mapping[str, Tensor]) -> Tensor:
    return state.get("step", torch.zeros(())).float()


def _stacked_moments(states: Sequence[Mapping[str, Mapping[str, Tensor]]], weights: Table, moment: str) -> Table:
    """One moment of all heads; zeros before the first step."""
    heads = [
        {name: state.get(moment, torch.zeros_like(weights.own(number, name))) for name, state in head.items()}
        for number, head in enumerate(states)
    ]
    return Table.of(heads)


def _columns(racer: Racer, weights: Table) -> list[slice]:
    """The columns of every optimiser group."""
    held = {id(racer.contender.model.get_parameter(name)): name for name in weights.places}
    groups = [[held[id(p)] for p in group["params"] if id(p) in held] for group in racer.optimizer.param_groups]
    return [weights.columns(group) if group else slice(0, 0) for group in groups]
