"""What a sweep will do: which runs, which of them share a pass over the store, which are trained as one."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...pipeline import registry
from ...pipeline.config import to_plain
from ...pipeline.errors import ConfigError, VisualThoughtError
from ..checkpoint import HEAD
from ..config import TrainConfig
from ..inputs import Inputs, open_inputs
from ..run import split_examples
from ..seeds import own_randomness
from ..tasks.base import Examples, Task
from .cells import Cell, Entry, cell_config, entries
from .config import SweepConfig
from .stack import shared_shape

OWN = ("seed", "out", "decoder", "head", "objective", "optimizer", "scheduler", "resume", "tensorboard", "progress")
"""Config keys in which runs of one pass may differ: they change nothing that is read, nor when."""


@dataclass(frozen=True)
class Planned:
    """One run of a sweep.

    Args:
        cell: its cell's name.
        config: as ``vtt train`` would get it, the task's defaults filled in.
        task: its task.
        parameters: trained numbers of the head.
    """

    cell: str
    config: TrainConfig
    task: Task
    parameters: int

    @property
    def identity(self) -> str:
        """All of its setting but where it writes and the seed."""
        plain = {key: value for key, value in to_plain(self.config).items() if key not in ("out", "seed")}
        return json.dumps(plain, sort_keys=True, default=str)

    @property
    def shape(self) -> str:
        """What runs that can be trained as one have in common."""
        return shared_shape(self.task)

    @property
    def name(self) -> str:
        """Cell and seed."""
        return f"{self.cell}/seed-{self.config.seed}"


@dataclass(frozen=True)
class Pass:
    """Runs that see the same batches.

    Args:
        runs: which.
        examples: of all of them.
        row_bytes: bytes of the store a training example reads.
        train: training examples.
    """

    runs: tuple[Planned, ...]
    examples: Examples
    row_bytes: int
    train: int

    @property
    def config(self) -> TrainConfig:
        """A config that says what all of them read, and when."""
        return self.runs[0].config

    @property
    def stacks(self) -> list[list[Planned]]:
        """Runs whose heads have one shape, in order; a list of one stands alone."""
        found: dict[str, list[Planned]] = {}
        for run in self.runs:
            found.setdefault(run.shape, []).append(run)
        return list(found.values())

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        config = self.config
        return {
            "runs": [run.name for run in self.runs],
            "same_shape": [[run.name for run in stack] for stack in self.stacks],
            "steps": config.steps,
            "batch_size": config.batch_size,
            "train_examples": self.train,
            "epochs": config.steps * config.batch_size / self.train,
            "epoch_bytes": self.train * self.row_bytes,
        }


@dataclass(frozen=True)
class SweepPlan:
    """All of a sweep, before anything is trained.

    Args:
        cells: every setting once.
        entries: the lines of the table.
        passes: how the runs share the reading.
    """

    cells: tuple[Cell, ...]
    entries: tuple[Entry, ...]
    passes: tuple[Pass, ...]

    @property
    def runs(self) -> list[Planned]:
        """Every run."""
        return [run for one in self.passes for run in one.runs]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "cells": {cell.name: dict(cell.changes) for cell in self.cells},
            "entries": [to_plain(entry) for entry in self.entries],
            "passes": [one.to_json() for one in self.passes],
            "runs": len(self.runs),
            "reads": len(self.passes),
        }

    def render(self) -> str:
        """As text for people."""
        lines = [f"{len(self.entries)} lines of the table, {len(self.cells)} cells, {len(self.runs)} runs"]
        for entry in self.entries:
            told = ", ".join(f"{key}={value}" for key, value in entry.values.items())
            lines.append(f"  {'→' if entry.carried else ' '} {entry.block:<16}{told:<44}{entry.cell}")
        lines.append(f"the store is read {len(self.passes)} times, not {len(self.runs)}:")
        for number, one in enumerate(self.passes, start=1):
            read = one.to_json()
            lines.append(
                f"  pass {number}: {len(one.runs)} runs, {read['steps']} steps of {read['batch_size']}, "
                f"{read['epochs']:.1f} epochs of {read['epoch_bytes'] / 1e9:.3f} GB"
            )
            lines += [f"    {len(stack)} of one shape: {_listed(stack)}" for stack in one.stacks]
        return "\n".join(lines)


def plan_sweep(config: SweepConfig) -> SweepPlan:
    """Read the file against the recipe and the store; trains nothing, writes nothing.

    Raises:
        ConfigError: a cell that cannot be built, named with the sweep file.
        StoreError, ManifestError: what would keep any of the runs from starting.
    """
    cells, lines = entries(config.file)
    configs = [(cell.name, cell_config(config, cell, seed)) for cell in cells for seed in config.file.seeds]
    passes: list[Pass] = []
    for group in _grouped(configs):
        with open_inputs(group[0][1], None) as inputs:
            passes += _share(inputs, group, config.source)
    return _merged(cells, lines, passes)


def _merged(cells: Sequence[Cell], lines: Sequence[Entry], passes: Sequence[Pass]) -> SweepPlan:
    """The plan without cells that differ only in how their config is written: a default given, or left out."""
    first: dict[str, str] = {}
    same = {run.cell: first.setdefault(run.identity, run.cell) for one in passes for run in one.runs}
    kept = [replace(one, runs=tuple(run for run in one.runs if same[run.cell] == run.cell)) for one in passes]
    return SweepPlan(
        tuple(cell for cell in cells if same[cell.name] == cell.name),
        tuple(replace(line, cell=same[line.cell]) for line in lines),
        tuple(kept),
    )


def _grouped(configs: Iterable[tuple[str, TrainConfig]]) -> list[list[tuple[str, TrainConfig]]]:
    """Runs whose configs read the same at the same steps."""
    groups: dict[str, list[tuple[str, TrainConfig]]] = {}
    for cell, config in configs:
        read = {key: value for key, value in to_plain(config).items() if key not in OWN}
        groups.setdefault(json.dumps(read, sort_keys=True, default=str), []).append((cell, config))
    return list(groups.values())


def _share(inputs: Inputs, group: Sequence[tuple[str, TrainConfig]], source: str) -> list[Pass]:
    """Passes of runs whose tasks make the same examples of the same rows."""
    shared: list[tuple[Examples, list[Planned]]] = []
    sizes: dict[str, int] = {}
    for cell, config in group:
        run, examples = _prepare(inputs, cell, config, source=source, sizes=sizes)
        fitting = next((runs for known, runs in shared if same_examples(known, examples)), None)
        if fitting is None:
            shared.append((examples, [run]))
        else:
            fitting.append(run)
    return [_pass(inputs, examples, runs) for examples, runs in shared]


def _prepare(
    inputs: Inputs, cell: str, config: TrainConfig, *, source: str, sizes: dict[str, int]
) -> tuple[Planned, Examples]:
    """One run and its examples; ``sizes`` remembers the parameters of each cell, since only building a head tells."""
    try:
        if config.early_stop:
            raise ConfigError(
                "runs that share their batches do not end early",
                found=f"early_stop {config.early_stop}",
                remedy="set early_stop: 0",
            )
        task: Task = registry.load("task", config.task)(config, inputs.specs)
        examples = task.examples(inputs.manifest, inputs.indexes)
        sizes[cell] = sizes[cell] if cell in sizes else _parameters(task)
    except VisualThoughtError as error:
        raise type(error)(
            f"{source}, cell {cell}: {error.problem}", found=error.found, expected=error.expected, remedy=error.remedy
        ) from None
    return Planned(cell, task.config, task, sizes[cell]), examples


def _parameters(task: Task) -> int:
    """Trained numbers of the head."""
    with own_randomness():
        model = task.contender(HEAD).model
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _pass(inputs: Inputs, examples: Examples, runs: Sequence[Planned]) -> Pass:
    splits = split_examples(inputs.manifest, examples, runs[0].config)
    row_bytes = sum(inputs.readers[name].spec.row_bytes for name in examples.rows)
    return Pass(tuple(runs), examples, row_bytes, len(splits["train"]))


def same_examples(a: Examples, b: Examples) -> bool:
    """Whether two tasks learn from the same examples: the same rows, the same targets."""
    return a.table.equals(b.table) and _same(a.rows, b.rows) and _same(a.targets, b.targets)


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(np.asarray(a[key]), np.asarray(b[key])) for key in a)


def _listed(runs: Sequence[Planned]) -> str:
    cells = list(dict.fromkeys(run.cell for run in runs))
    seeds = sorted({run.config.seed for run in runs})
    return f"{', '.join(cells)}; seeds {', '.join(map(str, seeds))}"
