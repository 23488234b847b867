"""A real store, label file and manifest small enough for tests, with a signal that only the asked-for query carries."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import yaml

from visual_thought.pipeline.config import build
from visual_thought.pipeline.datasets.labels import write_labels
from visual_thought.pipeline.spec import FeatureSpec, ImageSpec, TokenLayout
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.tensors import encode
from visual_thought.train.config import TrainConfig

IMAGE = ImageSpec(height=48, width=48)
COARSE, FINE, CHANNELS = (3, 3), (6, 6), 8
FRAME_SIZE = 96
INSTRUCTIONS = ("pick black", "pick blue", "pick orange")
REPO = "toys/cubes"


def z_spec(tier: str = "bf16", numerics: int = 1) -> FeatureSpec:
    layout = TokenLayout(grid=COARSE, prefix=1, text=2)
    return FeatureSpec("z", "query", (12, CHANNELS), layout, IMAGE, tier, {"backbone": "toy", "numerics": numerics})


def r_spec(tier: str = "bf16") -> FeatureSpec:
    layout = TokenLayout(grid=FINE)
    return FeatureSpec("r", "frame", (*FINE, CHANNELS), layout, IMAGE, tier, {"backbone": "davit-toy", "numerics": 1})


def frame_rows(episodes: int, frames: int) -> pa.Table:
    keys = [(episode, frame) for episode in range(episodes) for frame in range(frames)]
    return pa.table(
        {
            "repo_id": [REPO] * len(keys),
            "revision": ["local-1"] * len(keys),
            "episode_index": [episode for episode, _ in keys],
            "frame_index": [frame for _, frame in keys],
            "camera": ["main"] * len(keys),
            "timestamp_s": [frame / 7.5 for _, frame in keys],
        }
    )


def query_rows(frames: pa.Table) -> pa.Table:
    rows = [row | {"instruction": text} for row in frames.to_pylist() for text in INSTRUCTIONS]
    return pa.Table.from_pylist(rows)


def answer(row: dict) -> tuple[int, int] | None:
    """The fine position (row, column) of a query's target; None for a negative query."""
    rng = np.random.default_rng([row["episode_index"], row["frame_index"], INSTRUCTIONS.index(row["instruction"])])
    place = tuple(int(v) for v in rng.integers(0, FINE[0], 2))
    return None if rng.random() < 0.25 else place


def z_values(queries: pa.Table) -> torch.Tensor:
    values = 0.3 * torch.randn(len(queries), 12, CHANNELS, generator=torch.Generator().manual_seed(1))
    for number, row in enumerate(queries.to_pylist()):
        place = answer(row)
        if place is not None:
            values[number, 1 + place[0] // 2 * 3 + place[1] // 2, 0] += 3.0
    return values


def r_values(frames: pa.Table) -> torch.Tensor:
    values = 0.3 * torch.randn(len(frames), *FINE, CHANNELS, generator=torch.Generator().manual_seed(2))
    for number, row in enumerate(frames.to_pylist()):
        for text in INSTRUCTIONS:
            place = answer(row | {"instruction": text})
            if place is not None:
                values[number, place[0], place[1], 1] += 3.0
    return values


def write_feature(store: FeatureStore, spec: FeatureSpec, rows: pa.Table, values: torch.Tensor) -> None:
    by_row = {tuple(row.items()): value for row, value in zip(rows.to_pylist(), values, strict=True)}
    for plan in plan_array(store, spec, rows):
        for part in plan.missing:
            chosen = [by_row[tuple(row.items())] for row in plan.part_table(part).to_pylist()]
            commit_part(store, plan, part, encode(torch.stack(chosen), spec))


def label_rows(queries: pa.Table) -> pa.Table:
    rows = []
    for row in queries.to_pylist():
        place = answer(row)
        step = FRAME_SIZE / FINE[0]
        point = None if place is None else ((place[1] + 0.5) * step, (place[0] + 0.5) * step)
        rows.append(
            {name: row[name] for name in ("episode_index", "frame_index", "camera", "instruction")}
            | {"target": "cube" if point else "", "positive": point is not None, "phase": "approach"}
            | {"point_x": point and point[0], "point_y": point and point[1], "mask": None}
            | {"mask_height": FRAME_SIZE, "mask_width": FRAME_SIZE}
        )
    types = {name: pa.float64() for name in ("point_x", "point_y")} | {"mask": pa.string()}
    table = pa.Table.from_pylist(rows)
    for name, kind in types.items():
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    return table


def write_manifest(folder: Path, **changes: object) -> Path:
    data = {
        "repo_id": REPO,
        "cameras": ["main"],
        "splits": {"train": [0, 1, 2, 3], "val": [4], "test": [5]},
        "licence": "apache-2.0",
        "simulated": True,
        "labels": "labels.parquet",
    }
    path = folder / "toys.yaml"
    path.write_text(yaml.safe_dump(data | changes))
    return path


def make_dataset(folder: Path, *, episodes: int = 6, frames: int = 12, tier: str = "bf16") -> None:
    """store/, labels.parquet and toys.yaml in ``folder``."""
    frame_table = frame_rows(episodes, frames)
    queries = query_rows(frame_table)
    store = FeatureStore.create(folder / "store")
    write_feature(store, z_spec(tier), queries, z_values(queries))
    write_feature(store, r_spec(tier), frame_table, r_values(frame_table))
    write_labels(folder / "labels.parquet", label_rows(queries))
    write_manifest(folder)


SHORT_RECIPE = {
    "task": "ground",
    "features": {"z": "z", "r": "r"},
    "decoder": {"dim": 16, "num_layers": 1, "num_heads": 2},
    "head": {"dim": 16, "candidates": 3, "num_heads": 2},
    "optimizer": {"lr": 1e-3},
    "steps": 2,
    "batch_size": 8,
    "loader": {"threads": 1},
    "device": "cpu",
    "tensorboard": False,
    "progress": False,
}
"""Two steps, as a recipe's file says them."""

RECIPE = {
    "task": "ground",
    "features": {"z": "z", "r": "r"},
    "decoder": {"dim": 16, "num_layers": 1, "num_heads": 2, "dropout": 0.1},
    "head": {"dim": 16, "candidates": 3, "num_heads": 2},
    "optimizer": {"lr": 3e-3},
    "scheduler": {"name": "cosine", "warmup_steps": 5},
    "controls": ["instruction_blind", "linear_probe"],
    "steps": 12,
    "batch_size": 16,
    "eval_freq": 5,
    "log_freq": 4,
    "eval_train_rows": 20,
    "loader": {"threads": 1},
    "device": "cpu",
    "tensorboard": False,
    "progress": False,
}


def config_for(folder: Path, out: str = "run", **changes: object) -> TrainConfig:
    places = {"store": folder / "store", "manifest": str(folder / "toys.yaml"), "out": folder / out}
    return build(TrainConfig, RECIPE | places | changes, source="the toy recipe")
