"""Simulated grounding features in a real store, and heads that train from them without labels or a run folder."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch

from ...pipeline.spec import FeatureSpec, ImageSpec, TokenLayout
from ...pipeline.store import FeatureStore, commit_part, plan_array
from ...pipeline.store.reader import RowReader
from ...train.config import TrainConfig, build_config
from ...train.journal import Journal
from ...train.run import build_racers
from ...train.sources import DiskSource
from ...train.state import Data, Run
from ...train.tasks.base import Examples
from ...train.tasks.ground import GroundTask
from .features import index_of

IMAGE = ImageSpec(224, 224)
COARSE, FINE = (7, 7), (14, 14)
POSITIVE_CELLS = 0.1


@dataclass(frozen=True)
class Size:
    """The sizes of the simulated features.

    Args:
        name: in words.
        tokens: of Z.
        channels: of Z and R.
    """

    name: str
    tokens: int
    channels: int


WORLD, FULL = Size("world-size features", 66, 96), Size("full-size features", 100, 1024)


@dataclass(frozen=True)
class Simulated:
    """A store of simulated Z and R, one row an example, and what is to be learned from them.

    Args:
        folder: of the store.
        specs: of ``z`` and ``r``.
        examples: targets at random.
    """

    folder: Path
    specs: Mapping[str, FeatureSpec]
    examples: Examples

    def data(self, readers: Mapping[str, RowReader], task: GroundTask) -> Data:
        """What steps read: every example, from the store's files."""
        rows = np.arange(len(self.examples.table))
        fields = task.fields(self.examples, 0)
        splits = {"train": rows, "val": rows[:0], "train_eval": rows[:0]}
        sources = {name: DiskSource(reader) for name, reader in readers.items()}
        return Data(self.examples, sources, fields, fields, splits, np.zeros_like(rows))

    def run(self, data: Data, **changes: Any) -> Run:
        """A run that writes nothing."""
        config = self.config(**changes)
        task = GroundTask(config, self.specs)
        racers = build_racers(task, torch.device("cpu"))
        return Run(task.config, task, racers, data, cast(Journal, None), torch.device("cpu"), {})

    def config(self, **changes: Any) -> TrainConfig:
        """The recipe ``ground-world`` without controls, with some keys changed."""
        keys = {"controls": [], "device": "cpu", "order_seed": 0, "steps": 1_000_000} | changes
        overrides = [f"{key}={value}" for key, value in keys.items()]
        return build_config("ground-world", overrides, store=self.folder, manifest="none", out=self.folder / "out")


def simulate_grounding(folder: Path, size: Size, rows: int) -> Simulated:
    """Write normal random numbers as bfloat16 into a new store."""
    layout = TokenLayout(COARSE, prefix=1, text=size.tokens - 1 - COARSE[0] * COARSE[1])
    compute = {"backbone": "simulated", "numerics": 1}
    shapes = {"z": (size.tokens, size.channels), "r": (*FINE, size.channels)}
    layouts = {"z": layout, "r": TokenLayout(FINE)}
    pers = {"z": "query", "r": "frame"}
    store, rng = FeatureStore.create(folder), np.random.default_rng(0)
    specs = {
        name: FeatureSpec(name, cast(Any, pers[name]), shape, layouts[name], IMAGE, "bf16", compute)
        for name, shape in shapes.items()
    }
    for name, spec in specs.items():
        index = index_of(rows)
        if name == "z":
            index = index.append_column("instruction", pa.array(["point"] * rows))
        for plan in plan_array(store, spec, index):
            for part in plan.missing:
                count = len(plan.part_range(part))
                values = rng.standard_normal((count, *spec.shape), np.float32)
                commit_part(store, plan, part, (values.view(np.uint32) >> 16).astype(np.uint16))
    return Simulated(folder, specs, _examples(rows, rng))


def _examples(rows: int, rng: np.random.Generator) -> Examples:
    cells = COARSE[0] * COARSE[1]
    point = rng.integers(-1, cells, rows)
    positive = rng.random((rows, cells)) < POSITIVE_CELLS
    positive[np.arange(rows), point] |= point >= 0
    targets = {
        "cells": torch.from_numpy(positive),
        "point_cell": torch.from_numpy(point),
        "point_sub_cell": torch.from_numpy(rng.integers(0, 4, rows)),
    }
    number = np.arange(rows)
    return Examples(index_of(rows), {"z": number, "r": number}, targets, tuple(sorted(set((number // 500).tolist()))))


def same_shaped(simulated: Simulated, data: Data, count: int, **changes: Any) -> list[Run]:
    """Runs that differ in seed, learning rate and margin."""
    rates, margins = itertools.cycle((1e-3, 5e-4)), itertools.cycle((0.15, 0.15, 0.25, 0.25))
    return [
        simulated.run(data, seed=seed, **{"optimizer.lr": rate, "objective.p_negative": margin}, **changes)
        for seed, rate, margin in zip(range(count), rates, margins, strict=False)
    ]
