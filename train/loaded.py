"""Runs ready to use: models rebuilt from a run folder, or from one checkpoint, wherever it lies and came from."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..pipeline import registry
from ..pipeline.config import build
from ..pipeline.errors import ConfigError, WeightsError
from ..pipeline.record import RunRecord, read_record
from ..pipeline.store import FeatureStore
from .belonging import refuse_foreign
from .bounds import LIST, fault, metered, read_header, read_json, refuse_large_row
from .checkpoint import (
    HEAD,
    STEPS,
    checkpoint_dir,
    checkpoints,
    link_name,
    load_model,
    model_file,
    steps_of,
)
from .config import TrainConfig
from .inputs import resolve_features
from .seeds import own_randomness
from .tasks.base import Contender, Task

_STUMBLES = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What code raises that was given numbers no config of ours holds."""


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
    """A run or a checkpoint as :func:`load_run` reads it.

    Args:
        run_dir: the folder.
        record: what it says of itself.
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

    def features_in(self, store: FeatureStore) -> dict[str, str]:
        """The store's key of every feature that the models read, by the task's names.

        Raises:
            ConfigError: the store has no such feature.
            StoreMismatch: it was made by something else than what the run was trained on; says what differs.
        """
        return resolve_features(store, self.config, self.record)


def load_run(path: str | Path, checkpoint: str | int = "best", *, device: str = "cpu") -> LoadedRun:
    """Rebuild a run's models; needs neither the store nor the labels.

    Args:
        path: a run folder, or one checkpoint: ``run/best``, ``run/checkpoints/000123``, a copy of it anywhere, or what
            ``vtt push`` uploaded.
        checkpoint: of a run folder: ``best`` (each contender's own best validation), ``last``, or a step number.
        device: where the models go.

    Raises:
        ConfigError: no run, no such checkpoint.
        WeightsError: the checkpoint is damaged, of another model than its config makes, or of another task than its
            run.
        StoreMismatch: the checkpoint was trained on other features than its run.
    """
    folder = Path(path)
    alone = (folder / LIST).exists()
    record = _record(folder / "config.json" if alone else folder / "run.json", alone)
    task = _task(record, folder)
    contenders = {}
    for name in task.names:
        where = folder if alone else _find(folder, name, str(checkpoint))
        if not alone:
            refuse_foreign(folder, where)
        contenders[name] = _load(where, task, name, device)
    return LoadedRun(folder, record, task.config, task, contenders)


def _record(path: Path, alone: bool) -> RunRecord:
    if alone:
        _refuse_damage(path.parent, [path.name])
    elif path.exists():
        read_json(path)  # a regular file of no absurd size
    return read_record(path)


def _task(record: RunRecord, folder: Path) -> Task:
    """The task of a record. What it says is checked by what reads it; anything else it stumbles over is damage."""
    try:
        config = build(TrainConfig, record.config, source=f"{folder}, config")
        specs = {name: record.spec(name) for name in record.features}
        for spec in specs.values():
            refuse_large_row(spec)
        task: Task = registry.load("task", config.task)(config, specs)
    except _STUMBLES as error:
        raise WeightsError(f"{folder} does not say what it is", found=f"{type(error).__name__}: {error}") from None
    return task


def _load(folder: Path, task: Task, name: str, device: str) -> LoadedContender:
    _refuse_damage(folder, ["config.json", model_file(name)])
    contender = _build(folder / model_file(name), task, name)
    load_model(folder, name, contender.model)
    contender.model.to(torch.device(device)).eval()
    step = steps_of(folder).get(name)
    if step is None:
        raise WeightsError(f"{folder} does not say after how many steps {name} was saved", expected=STEPS)
    return LoadedContender(contender, folder, step)


def _build(file: Path, task: Task, name: str) -> Contender:
    """The model that the config makes, with memory for no more than the file announces."""
    announced, layers = read_header(file), task.config.decoder.num_layers
    if name == HEAD and layers > len(announced):  # every layer has weights of its own; controls may have none
        raise WeightsError(f"{file} holds no {layers} layers", found=f"{len(announced)} tensors")
    try:
        with own_randomness(), metered(announced, file):
            return task.contender(name)
    except _STUMBLES as error:
        raise WeightsError(f"{file}: its config makes no model", found=f"{type(error).__name__}: {error}") from None


def _refuse_damage(folder: Path, names: list[str]) -> None:
    problem = fault(folder, names)
    if problem is not None:
        raise WeightsError(
            f"checkpoint {folder} is damaged", found=problem, remedy="load another one, or resume the run from the last"
        )


def _find(folder: Path, name: str, which: str) -> Path:
    """The folder of a checkpoint of this run; a link that leads elsewhere leads to none."""
    if which.isdecimal():
        path = checkpoint_dir(folder, int(which))
    else:
        path = (folder / {"best": link_name(name), "last": "last"}.get(which, "checkpoints")).resolve()
    inside = path.parent.resolve() == (folder / "checkpoints").resolve() and not path.is_symlink()
    if not (inside and path.is_dir() and path.name.isdecimal()):
        there = [str(int(found.name)) for found in reversed(checkpoints(folder))]
        raise ConfigError(
            f"{folder} has no checkpoint {which!r} of {name}",
            found=["steps", *there],
            expected="best, last or a step",
        )
    return path
