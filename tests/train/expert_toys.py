"""A real store of Z with an expert's tokens and a teacher's maps, small enough for tests; both follow from Z."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from grounding_toys import CHANNELS, FRAME_SIZE, frame_rows, write_feature, write_manifest, z_spec

from visual_thought.pipeline.config import build
from visual_thought.pipeline.datasets.corners import CORNER_SCHEMA
from visual_thought.pipeline.datasets.labels import LABEL_SCHEMA, write_labels
from visual_thought.pipeline.datasets.world.corner_targets import corner_targets
from visual_thought.pipeline.spec import FeatureSpec, ImageSpec, TokenLayout
from visual_thought.pipeline.store import FeatureStore
from visual_thought.train.config import TrainConfig

INSTRUCTION = "point to the corner"
IMAGE, POOL = ImageSpec(48, 48, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)), 2
E_LAYOUT, E_CHANNELS = TokenLayout(grid=(4, 6), prefix=1), 5
Y_GRID, Y_CHANNELS = (24, 24), (2, 0, 1)


def e_spec(tier: str = "bf16") -> FeatureSpec:
    compute = {"backbone": "expert-toy", "numerics": 1}
    return FeatureSpec("e", "frame", (E_LAYOUT.prefix + E_LAYOUT.cells, E_CHANNELS), E_LAYOUT, IMAGE, tier, compute)


def y_spec(channels: tuple[int, ...] = Y_CHANNELS, tier: str = "bf16") -> FeatureSpec:
    compute = {"backbone": "teacher-toy", "numerics": 1, "channels": list(channels), "pool": POOL}
    return FeatureSpec("y", "frame", (len(channels), *Y_GRID), TokenLayout(grid=Y_GRID), IMAGE, tier, compute)


def corner_of(row: dict) -> tuple[int, int]:
    """The corner (column, row) of a frame, in pixels of the network input, away from the borders."""
    rng = np.random.default_rng([row["episode_index"], row["frame_index"]])
    return int(rng.integers(8, 40)), int(rng.integers(8, 40))


def z_values(frames: pa.Table) -> torch.Tensor:
    """Noise, and in every spatial token how far away the corner is."""
    values = 0.1 * torch.randn(len(frames), 12, CHANNELS, generator=torch.Generator().manual_seed(3))
    for number, row in enumerate(frames.to_pylist()):
        x, y = corner_of(row)
        for cell in range(9):
            values[number, 1 + cell, 0] += (x - (cell % 3 + 0.5) * 16) / 16
            values[number, 1 + cell, 1] += (y - (cell // 3 + 0.5) * 16) / 16
    return values


def e_values(frames: pa.Table) -> torch.Tensor:
    """Tokens that say, each in its own unit, where the corner lies from them; the last channel never varies."""
    tokens, (rows, columns) = torch.zeros(len(frames), 25, E_CHANNELS), E_LAYOUT.grid
    for number, row in enumerate(frames.to_pylist()):
        x, y = corner_of(row)
        for cell in range(E_LAYOUT.cells):
            dx = x / 48 - (cell % columns + 0.5) / columns
            dy = y / 48 - (cell // columns + 0.5) / rows
            tokens[number, 1 + cell] = torch.tensor([dx, dy, 10 * dx + 4, dx * dy, 2.0])
        tokens[number, 0] = torch.tensor([x / 48, y / 48, 1.0, 0.0, 2.0])
    return tokens


def y_values(frames: pa.Table, channels: tuple[int, ...] = Y_CHANNELS) -> torch.Tensor:
    """The maps of a perfect teacher, pooled."""
    corners = torch.tensor([[corner_of(row)] for row in frames.to_pylist()]).float()
    seen = torch.ones(len(corners), 1, dtype=torch.bool)
    maps = corner_targets(corners, corners - torch.tensor([3.0, 4.0]), seen, (48, 48)).maps[:, list(channels)]
    return torch.nn.functional.avg_pool2d(maps, POOL)


def label_table(frames: pa.Table) -> pa.Table:
    rows = []
    for row in frames.to_pylist():
        x, y = corner_of(row)
        rows.append(
            {name: row[name] for name in ("episode_index", "frame_index", "camera")}
            | {"instruction": INSTRUCTION, "target": "corner", "positive": True, "phase": ""}
            | {"point_x": 2 * x + 1.0, "point_y": 2 * y + 1.0, "mask": None}
            | {"mask_height": FRAME_SIZE, "mask_width": FRAME_SIZE}
        )
    return pa.Table.from_pylist(rows, schema=LABEL_SCHEMA)


def corner_table(frames: pa.Table) -> pa.Table:
    """The corner where it is, in pixels of the frame, and a second one that nobody sees."""
    rows = []
    for row in frames.to_pylist():
        x, y = corner_of(row)
        where = {name: row[name] for name in ("episode_index", "frame_index", "camera")}
        for number, visible in enumerate((True, False)):
            place = {"x": 2 * x + 1.0, "y": 2 * y + 1.0, "inward_x": 0.0, "inward_y": 0.0}
            rows.append(where | place | {"corner": number, "visible": visible, "held": False})
    return pa.Table.from_pylist(rows, schema=CORNER_SCHEMA)


def make_experts(folder: Path, *, episodes: int = 6, frames: int = 8) -> None:
    """store/, labels.parquet, corners.parquet and toys.yaml in ``folder``."""
    table = frame_rows(episodes, frames)
    queries = table.append_column("instruction", pa.array([INSTRUCTION] * len(table)))
    store = FeatureStore.create(folder / "store")
    write_feature(store, z_spec(), queries, z_values(table))
    write_feature(store, e_spec(), table, e_values(table))
    write_feature(store, y_spec(), table, y_values(table))
    write_labels(folder / "labels.parquet", label_table(table))
    pq.write_table(corner_table(table), folder / "corners.parquet")
    write_manifest(folder)


COMMON = {
    "decoder": {"dim": 0, "num_queries": 0, "num_layers": 1, "num_heads": 1},
    "optimizer": {"lr": 1e-2},
    "scheduler": {"name": "cosine", "warmup_steps": 5},
    "controls": ["target_mean", "linear_probe"],
    "steps": 10,
    "batch_size": 8,
    "eval_freq": 5,
    "log_freq": 5,
    "eval_train_rows": 8,
    "loader": {"threads": 1},
    "device": "cpu",
    "tensorboard": False,
    "progress": False,
}
RECIPES = {
    "distill": COMMON | {"task": "distill", "features": {"z": "z", "e": "e"}},
    "dense": COMMON
    | {
        "task": "dense",
        "features": {"z": "z", "y": "y"},
        "decoder": {"dim": 16, "num_queries": 0, "num_layers": 1, "num_heads": 2},
        "head": {"grid": [6, 6]},
    },
}


def expert_config(task: str, folder: Path, out: str = "run", **changes: object) -> TrainConfig:
    places = {"store": folder / "store", "manifest": str(folder / "toys.yaml"), "out": folder / out}
    return build(TrainConfig, RECIPES[task] | places | changes, source="the toy recipe")
