"""What a run is made of while it runs."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import nn

from .best import Best
from .compiled import Terms
from .config import TrainConfig
from .journal import Journal
from .loader import Field, Loader
from .processes import ALONE, Team
from .sampling import Plan
from .sources import Source
from .tasks.base import Contender, Examples, Task


@dataclass
class Racer:
    """One contender in the running: its model, its optimiser, its best validation so far.

    Args:
        contender: its model is the one that takes the steps.
        optimizer: of that model.
        terms: the terms of its training loss; the task's own, or those compiled.
        average: the moving average of its weights, if there is one.
        best: the best validation so far.
    """

    contender: Contender
    optimizer: torch.optim.Optimizer
    terms: Terms
    average: nn.Module | None = None
    best: Best | None = None

    @property
    def judged(self) -> nn.Module:
        """What is validated and saved: the average, or the model itself."""
        return self.contender.model if self.average is None else self.average


def models_of(racers: Iterable[Racer]) -> dict[str, nn.Module]:
    """The models that take the steps, by contender."""
    return {racer.contender.name: racer.contender.model for racer in racers}


def averages_of(racers: Iterable[Racer]) -> dict[str, nn.Module]:
    """The averages, by contender, of those that have one."""
    return {racer.contender.name: racer.average for racer in racers if racer.average is not None}


def optimizers_of(racers: Iterable[Racer]) -> dict[str, torch.optim.Optimizer]:
    """The optimisers, by contender."""
    return {racer.contender.name: racer.optimizer for racer in racers}


def bests_of(racers: Iterable[Racer]) -> dict[str, Best]:
    """The best validations, by contender, of those that have one."""
    return {racer.contender.name: racer.best for racer in racers if racer.best is not None}


@dataclass(frozen=True)
class Data:
    """What the steps read: examples, where their rows come from, and who is in which split."""

    examples: Examples
    sources: Mapping[str, Source]
    train_fields: Mapping[str, Field]
    eval_fields: Mapping[str, Field]
    splits: Mapping[str, Int[np.ndarray, " m"]]
    parts: Int[np.ndarray, " n"]
    """The part of the store that every example's largest row lies in."""


@dataclass(frozen=True)
class Run:
    """Everything a step touches."""

    config: TrainConfig
    task: Task
    racers: tuple[Racer, ...]
    data: Data
    journal: Journal
    device: torch.device
    described: Mapping[str, Any]
    """What each checkpoint's ``config.json`` says."""
    team: Team = ALONE
    """The processes that share the run's steps."""
    recent: dict[str, list[float]] = field(default_factory=dict)
    """Losses since the last log line, by contender."""

    @property
    def out(self) -> Path:
        """The run folder."""
        return self.config.out

    def autocast(self) -> AbstractContextManager[object]:
        """The forward pass's number format."""
        if self.config.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def open_loader(
    run: Run,
    fields: Mapping[str, Field],
    plan: Plan,
    steps: range,
    batch_size: int,
    *,
    ahead: Callable[..., Int[np.ndarray, " m"]] | None = None,
) -> Loader:
    """A loader of some fields for the steps of a plan; ``ahead`` as :class:`~.loader.Loader` takes it."""
    options = run.config.loader
    return Loader(
        run.data.sources,
        fields,
        run.data.examples.targets,
        plan,
        steps,
        batch_size=batch_size,
        threads=options.threads,
        depth=options.depth,
        device=run.device,
        ahead=ahead,
    )
