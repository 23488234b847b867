"""What a run is made of while it runs."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from .checkpoint import Best
from .config import TrainConfig
from .journal import Journal
from .loader import Field, Loader
from .sampling import Plan, WindowOrder
from .sources import Source
from .tasks.base import Contender, Examples, Task


@dataclass
class Racer:
    """One contender in the running: its model, its optimiser, its best validation so far."""

    contender: Contender
    optimizer: torch.optim.Optimizer
    best: Best | None = None


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


def open_loader(run: Run, fields: Mapping[str, Field], plan: Plan, steps: range, batch_size: int) -> Loader:
    """A loader of some fields for the steps of a plan."""
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
        ahead=plan.ahead if isinstance(plan, WindowOrder) else None,
    )
