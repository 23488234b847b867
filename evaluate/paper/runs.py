"""Run folders as the tables need them: settings, seed, log and size."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ...pipeline.errors import ConfigError
from ...pipeline.record import RunRecord, read_record
from ...train.best import rank
from ..recipe import SEEDS, data_of, flat_config, recipe_of, settings_of
from .evaluated import Evaluated, left_in
from .log import Log, read_log
from .sizes import sizes

type At = Literal["last", "best"]

BEST_BY: Mapping[str, tuple[str, float]] = {"distill": ("mse", -1.0), "dense": ("mse", -1.0), "ground": ("f_0_25", 1.0)}
"""Task -> the validation metric that chooses its best checkpoint, and its sign: +1 where more is better."""


@dataclass(frozen=True)
class PaperRun:
    """One run folder.

    Args:
        folder: where it is.
        record: what it says of itself.
        log: what it measured.
        evaluated: what an evaluation knows of controls that training does not.
    """

    folder: Path
    record: RunRecord
    log: Log
    evaluated: Evaluated = field(default_factory=dict)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The config, flat: ``decoder.dim`` -> value."""
        return flat_config(self.record)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The flat config without what says where, how fast or with which seed."""
        return settings_of(self.record)

    @cached_property
    def origin(self) -> dict[str, str]:
        """What it was trained on: ``dataset`` by name, ``data`` (labels and split) by hash, features by fingerprint."""
        features = {name: found[:8] for name, found in self.record.fingerprints.items()}
        return {"dataset": str(self.record.manifest["name"]), "data": data_of(self.record)[:8], **features}

    @property
    def identity(self) -> str:
        """Equal for runs that differ by nothing but their seed."""
        return recipe_of(self.record)

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
        """The step of a contender's last or best validation, as training chooses it; None before the first."""
        steps = self.log.steps(contender)
        if at == "last" or not steps:
            return steps[-1] if steps else None
        metric, sign = BEST_BY[self.record.task]
        numbers = {step: (self.number(contender, step, metric), self.number(contender, step, "loss")) for step in steps}
        ranks = [rank(value, loss, step, sign=sign) for step, (value, loss) in numbers.items() if value is not None]
        return max(ranks)[-1] if ranks else None

    def number(self, contender: str, step: int, metric: str) -> float | None:
        """One number of a validation."""
        return self.log.number(contender, "val", step, metric)


def read_run(folder: Path, evaluated: Evaluated | None = None) -> PaperRun:
    """A run folder; ``evaluated`` by whoever knows it better than the ``metrics.json`` inside.

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
        run = PaperRun(folder, record, read_log(folder), left_in(folder) if evaluated is None else evaluated)
        _ = run.identity, run.origin, run.steps, run.seeds
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{folder / 'run.json'} is damaged", found=f"{type(error).__name__}: {error}") from None
    return run
