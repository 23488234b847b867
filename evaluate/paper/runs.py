"""Run folders as the tables need them: settings, seed, log and size."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ...pipeline.errors import ConfigError
from ...pipeline.record import RunRecord, read_record
from ...train.config import TrainConfig
from .log import Log, read_log
from .sizes import sizes

type At = Literal["last", "best"]

BEST_BY: Mapping[str, tuple[str, float]] = {"distill": ("mse", -1.0), "dense": ("mse", -1.0), "ground": ("f_0_25", 1.0)}
"""Task -> the validation metric that chooses its best checkpoint, and its sign: +1 where more is better."""
SEEDS = ("seed", "order_seed")
SILENT = (
    *SEEDS, "out", "store", "manifest", "device", "progress", "resume", "tensorboard", "wandb", "loader", "features",
    "fingerprints", "controls", "log_freq", "save_freq", "eval_freq", "keep_last", "eval_batch_size", "eval_train_rows",
    "compile", "accumulate", "early_stop", "task",
)  # fmt: skip
"""Keys of a config that do not make it another setting of the table."""
DEFAULTS = {field.name: field.default for field in fields(TrainConfig) if isinstance(field.default, (int, float, str))}
"""What a run meant that was recorded before a key was known."""


@dataclass(frozen=True)
class PaperRun:
    """One run folder.

    Args:
        folder: where it is.
        record: what it says of itself.
        log: what it measured.
    """

    folder: Path
    record: RunRecord
    log: Log

    @cached_property
    def config(self) -> dict[str, Any]:
        """The config, flat: ``decoder.dim`` -> value."""
        return {**DEFAULTS, **dict(_flat(self.record.config))}

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The flat config without what says where, how fast or with which seed."""
        return {key: value for key, value in self.config.items() if key.partition(".")[0] not in SILENT}

    @cached_property
    def origin(self) -> dict[str, str]:
        """What it was trained on: ``dataset`` by name, ``data`` (labels and split) by hash, features by fingerprint."""
        manifest = self.record.manifest
        told = {key: manifest.get(key) for key in ("repo_id", "revision", "labels_sha256")}
        told["episodes"] = {name: said.get("episodes") for name, said in self.record.splits.items()}
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        features = {name: found[:8] for name, found in self.record.fingerprints.items()}
        return {"dataset": str(manifest["name"]), "data": digest[:8], **features}

    @property
    def identity(self) -> str:
        """Equal for runs that differ by nothing but their seed."""
        return json.dumps([self.record.task, self.settings, self.origin], sort_keys=True)

    @property
    def seeds(self) -> tuple[Any, ...]:
        """What tells runs of one identity apart."""
        return tuple(self.config.get(key) for key in SEEDS)

    @property
    def steps(self) -> int:
        """Optimiser steps it was told to take."""
        return int(self.config["steps"])

    @property
    def reached(self) -> int | None:
        """The step of its last validation; None before the first."""
        steps = self.log.steps()
        return steps[-1] if steps else None

    @property
    def finished(self) -> bool:
        """Whether it was judged at its last step, or stopped early."""
        return self.reached is not None and (self.log.stopped_early or self.reached >= self.steps)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Trained numbers of the head; see :func:`~.sizes.sizes`."""
        return sizes(self.folder)

    def step_at(self, at: At, contender: str = "head") -> int | None:
        """The step of a contender's last or best validation (the earliest of equals); None before the first."""
        steps = self.log.steps(contender)
        if at == "last" or not steps:
            return steps[-1] if steps else None
        metric, sign = BEST_BY[self.record.task]
        values = {step: self.log.number(contender, "val", step, metric) for step in steps}
        known = {step: sign * value for step, value in values.items() if value is not None}
        return max(known, key=lambda step: (known[step], -step)) if known else None


def read_run(folder: Path) -> PaperRun:
    """A run folder.

    Raises:
        ConfigError: no run, a damaged record, or a task that no table of the paper is about.
        VisualThoughtError: a damaged log.
    """
    record = read_record(folder / "run.json")
    if record.task not in BEST_BY:
        raise ConfigError(
            f"no table of the paper is about the task of {folder}", found=record.task, expected=sorted(BEST_BY)
        )
    try:
        run = PaperRun(folder, record, read_log(folder))
        _ = run.identity, run.steps, run.seeds
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{folder / 'run.json'} is damaged", found=f"{type(error).__name__}: {error}") from None
    return run


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
