"""Finished runs, ready to use: models rebuilt from the run folder alone."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..pipeline import registry
from ..pipeline.config import build
from ..pipeline.errors import ConfigError, WeightsError
from ..pipeline.record import RunRecord, read_record
from .checkpoint import HEAD, checkpoint_dir, checkpoints, fault, link_name, load_model
from .config import TrainConfig
from .tasks.base import Contender, Task


@dataclass(frozen=True)
class LoadedContender:
    """One contender in eval mode and the checkpoint its weights are from."""

    contender: Contender
    path: Path
    step: int

    @property
    def model(self) -> nn.Module:
        """The model."""
        return self.contender.model


@dataclass(frozen=True)
class LoadedRun:
    """A run folder as :func:`load_run` reads it.

    Args:
        run_dir: the folder.
        record: its ``run.json``.
        config: the config it was trained with.
        task: the task, which knows features, fields and metrics.
        contenders: the head and its controls, by name.
    """

    run_dir: Path
    record: RunRecord
    config: TrainConfig
    task: Task
    contenders: dict[str, LoadedContender]

    @property
    def head(self) -> LoadedContender:
        """The contender the run was made for."""
        return self.contenders[HEAD]

    @property
    def model(self) -> nn.Module:
        """The head's model: decoder and head."""
        return self.head.model


def load_run(run_dir: str | Path, checkpoint: str | int = "best", *, device: str = "cpu") -> LoadedRun:
    """Rebuild a run's models; needs neither the store nor the labels.

    Args:
        run_dir: the run folder.
        checkpoint: ``best`` (each contender's own best validation), ``last``, or a step number.
        device: where the models go.

    Raises:
        ConfigError: no run, no such checkpoint.
        WeightsError: the checkpoint is damaged or of another model.
    """
    folder = Path(run_dir)
    record = read_record(folder / "run.json")
    config = build(TrainConfig, record.config, source=f"{folder / 'run.json'}, config")
    specs = {name: record.spec(name) for name in record.features}
    task: Task = registry.load("task", config.task)(config, specs)
    contenders = {name: _load(folder, task, name, str(checkpoint), device) for name in task.names}
    return LoadedRun(folder, record, config, task, contenders)


def _load(folder: Path, task: Task, name: str, which: str, device: str) -> LoadedContender:
    path = _find(folder, name, which)
    problem = fault(path)
    if problem is not None:
        raise WeightsError(
            f"checkpoint {path} is damaged", found=problem, remedy="load another one, or resume the run from the last"
        )
    contender = task.contender(name)
    load_model(path, name, contender.model)
    contender.model.to(torch.device(device)).eval()
    return LoadedContender(contender, path, int(path.name))


def _find(folder: Path, name: str, which: str) -> Path:
    link = folder / (link_name(name) if which == "best" else which)
    path = checkpoint_dir(folder, int(which)) if which.isdigit() else link.resolve()
    if not path.is_dir() or not path.name.isdigit():
        there = [str(int(found.name)) for found in reversed(checkpoints(folder))]
        raise ConfigError(
            f"{folder} has no checkpoint {which!r} of {name}",
            found=["steps", *there],
            expected="best, last or a step",
        )
    return path
