"""Heads of one shape trained as one: their parameters stacked along a new first axis, one graph for all of them.

Seeds, learning rates and the objective's margins may differ. Each head keeps its own module and its own optimiser,
whose tensors are slices of the stacked ones: validation and checkpoints are those of a head alone, and only the step,
from the batch to the weights, is shared.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...pipeline.config import to_plain
from ..loader import Batch
from ..objectives.terms import total
from ..seeds import stream_seed
from ..state import Racer, Run
from ..step import update
from ..tasks.base import Task
from .folded import fold
from .joint import JointAdamW, by_group, can_join
from .table import Table

PLAIN = {"accumulate": 1, "ema_decay": 0.0, "compile": False}
"""Config keys, and the only values with which a stack computes what a head alone does."""
BUSY_ELEMENTS = 1 << 21
"""Elements of a batch's largest feature above which a CPU is busy with one head; see :func:`pays`."""


class Stack:
    """Contenders of one name and shape in several runs.

    Dropout draws an own mask for every head, but from one stream of the whole stack: with dropout, a head's numbers
    differ from those of the same head trained alone as those of two dropout seeds do; without, they differ by rounding.

    Args:
        entries: the runs and their contender, in an order that never changes; it is part of the dropout stream.
    """

    def __init__(self, entries: Sequence[tuple[Run, Racer]]) -> None:
        self.entries = tuple(entries)
        run, racer = entries[0]
        self._loss = _Loss(fold(copy.deepcopy(racer.contender.model)).to(run.device).train())
        self._numbers = _lifted([run.task for run, _ in entries], run.device)
        self._parameters: dict[str, Tensor] = {}
        self._tie(None)
        self._joint: JointAdamW | None = None
        self._may_join = True

    def _tie(self, table: Table | None) -> None:
        """Make every head's parameters slices of stacked ones: of the table, where that has them."""
        models = [racer.contender.model for _, racer in self.entries]
        for name, parameter in models[0].named_parameters():
            own = [model.get_parameter(name) for model in models]
            known = table is not None and name in table.places
            stacked = table.stacked(name) if table and known else torch.stack([one.detach() for one in own])
            for one, values in zip(own, stacked, strict=True):
                one.data = values
            self._parameters[f"model.{name}"] = stacked.requires_grad_(parameter.requires_grad)

    def backward(self, batch: Batch, step: int) -> Float[Tensor, " n"]:
        """Compute every head's gradients for :meth:`update`, and return the n losses."""
        run, racer = self.entries[0]
        torch.manual_seed(stream_seed(run.config.reading_seed, "dropout", "stack", racer.contender.name, step))
        for parameter in self._parameters.values():
            parameter.grad = None
        losses = self._losses(run, racer.contender.view(batch), step)
        losses.sum().backward()
        return losses.detach()

    def update(self, step: int, live: Sequence[int]) -> None:
        """Clip and step the heads numbered ``live`` by the gradients of :meth:`backward`; the others stay as they are.

        All at once where the same parameters have gradients in every step; else in turn, each by its own optimiser.
        """
        named = {name.removeprefix("model."): stacked.grad for name, stacked in self._parameters.items()}
        gradients = {name: gradient for name, gradient in named.items() if gradient is not None}
        joint = self._join(gradients)
        if joint is not None:
            joint.step(gradients, step, live)
            return
        for number in live:
            run, racer = self.entries[number]
            for name, parameter in racer.contender.model.named_parameters():
                parameter.grad = gradients[name][number] if name in gradients else None
            update(run, racer, step)

    def _join(self, gradients: Mapping[str, Tensor]) -> JointAdamW | None:
        """What steps all heads at once; None, for good, once other parameters than at first have gradients."""
        if self._joint is None and self._may_join and can_join(self.entries, gradients):
            table = Table.of([by_group(racer, gradients) for _, racer in self.entries])
            self._tie(table)
            self._joint = JointAdamW(self.entries, table)
        if self._joint is None or self._joint.names != gradients.keys():
            self._joint, self._may_join = None, False
        return self._joint

    def _losses(self, run: Run, batch: Batch, step: int) -> Float[Tensor, " n"]:
        def loss(parameters: dict[str, Tensor], numbers: dict[str, Tensor]) -> Tensor:
            task = _with_numbers(run.task, numbers)
            return cast(Tensor, functional_call(self._loss, parameters, (task, batch, step)))

        # the fused attention kernels of a CPU know no stacked axis
        with run.autocast(), sdpa_kernel(SDPBackend.MATH):
            losses: Tensor = vmap(loss, randomness="different")(self._parameters, self._numbers)
        return losses


class _Loss(nn.Module):
    """The training loss as the forward pass of a module, so that its parameters can be given from outside."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, task: Task, batch: Batch, step: int) -> Float[Tensor, ""]:
        """The loss of a training step."""
        return total(task.terms(self.model, batch, step))


def shared_shape(task: Task) -> str:
    """What must be equal for heads to be trained as one: all of the config but seed, rates and liftable numbers."""
    plain = to_plain(task.config)
    own = ("seed", "out", "resume", "optimizer", "scheduler", "tensorboard", "progress")
    plain = {key: value for key, value in plain.items() if key not in own}
    free = liftable(task)
    plain["objective"] = {key: value for key, value in plain["objective"].items() if key not in free}
    return json.dumps(plain, sort_keys=True, default=str)


def liftable(task: Task) -> tuple[str, ...]:
    """Numbers of the task's objective that may be tensors; an objective says so itself."""
    return tuple(getattr(getattr(task, "objective", None), "liftable", ()))


def can_stack(entries: Sequence[tuple[Run, Racer]]) -> bool:
    """Whether a stack of these heads computes what each of them would alone."""
    config = to_plain(entries[0][0].config)
    plain = all(config.get(key, value) == value for key, value in PLAIN.items())
    models = [racer.contender.model for _, racer in entries]
    trained = any(parameter.requires_grad for parameter in models[0].parameters())
    return len(entries) > 1 and plain and trained and _same_shapes(models) and _same_buffers(models)


def pays(entries: Sequence[tuple[Run, Racer]], batch: Batch) -> bool:
    """Whether a stack is faster than its heads in turn.

    It saves the launching of small operations, which is what a GPU waits for and what a small batch costs on a CPU,
    and the normalisation of tokens that all heads read. Where a batch's arrays far outgrow the caches, a CPU is busy
    with one head, and the arrays of several ask for memory that heads in turn would share.
    """
    run, racer = entries[0]
    largest = max(values.numel() for values in racer.contender.view(batch).values())
    return run.device.type != "cpu" or largest <= BUSY_ELEMENTS


def _same_shapes(models: Sequence[nn.Module]) -> bool:
    shapes = [{name: (p.shape, p.dtype, p.requires_grad) for name, p in m.named_parameters()} for m in models]
    return all(one == shapes[0] for one in shapes)


def _same_buffers(models: Sequence[nn.Module]) -> bool:
    """Buffers are not stacked, so they must be equal."""
    first = dict(models[0].named_buffers())
    return all(torch.equal(b, first[name]) for model in models[1:] for name, b in model.named_buffers())


def _lifted(tasks: Sequence[Task], device: torch.device) -> dict[str, Tensor]:
    """The liftable numbers in which the tasks differ, each (n,)."""
    told = [{name: float(getattr(cast(Any, task).objective, name)) for name in liftable(task)} for task in tasks]
    varied = [name for name in told[0] if len({one[name] for one in told}) > 1]
    found = {name: torch.tensor([one[name] for one in told], device=device) for name in varied}
    return found or {"": torch.zeros(len(tasks), device=device)}


def _with_numbers(task: Task, numbers: dict[str, Tensor]) -> Task:
    """The task with tensors in place of some numbers of its objective."""
    known = {name: value for name, value in numbers.items() if name}
    if not known:
        return task
    changed, objective = copy.copy(task), copy.copy(cast(Any, task).objective)
    assert known.keys() <= {field.name for field in fields(objective)}
    for name, value in known.items():
        object.__setattr__(objective, name, value)
    cast(Any, changed).objective = objective
    return changed
