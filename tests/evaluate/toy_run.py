"""A small real store, labels with regions and a short real run, over the frames of the tiny dataset."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import yaml

from visual_thought.pipeline.config import build
from visual_thought.pipeline.datasets.labels import LABEL_SCHEMA, encode_rle, innermost_pixel, write_labels
from visual_thought.pipeline.spec import FeatureSpec, ImageSpec, TokenLayout
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.tensors import encode
from visual_thought.train.config import TrainConfig

REPO, CAMERAS, EPISODES, FRAMES = "visual-thought/tiny", ("main", "top"), 3, 10
HEIGHT, WIDTH = 48, 64
IMAGE, COARSE, FINE, CHANNELS = ImageSpec(32, 32), (4, 4), (8, 8), 8
INSTRUCTIONS = ("take the blue cube", "take the red cube")


def z_spec(numerics=1):
    layout = TokenLayout(COARSE, prefix=1, text=2)
    return FeatureSpec("z", "query", (19, CHANNELS), layout, IMAGE, "fp32", {"backbone": "toy", "numerics": numerics})


def r_spec():
    compute = {"backbone": "davit-toy", "numerics": 1}
    return FeatureSpec("r", "frame", (*FINE, CHANNELS), TokenLayout(FINE), IMAGE, "bf16", compute)


def queries():
    """Every query with its region (left, top) of 12x9 pixels, or None on a negative row."""
    rng = np.random.default_rng(7)
    for episode in range(EPISODES):
        for camera in CAMERAS:
            for frame in range(FRAMES):
                for instruction in INSTRUCTIONS:
                    place = int(rng.integers(0, WIDTH - 12)), int(rng.integers(0, HEIGHT - 9))
                    positive = rng.random() < 0.7
                    yield (episode, camera, frame, instruction), place if positive else None


def region(place):
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[place[1] : place[1] + 9, place[0] : place[0] + 12] = True
    return mask


def frame_row(key):
    episode, camera, frame, _ = key
    names = {"repo_id": REPO, "revision": "local-1", "episode_index": episode, "frame_index": frame}
    return names | {"camera": camera, "timestamp_s": frame / 15}


def write_feature(store, spec, rows, values):
    """Commit values given in the order of ``rows``, whatever order the store plans."""
    by_row = {tuple(row.items()): value for row, value in zip(rows, values, strict=True)}
    for plan in plan_array(store, spec, pa.Table.from_pylist(rows)):
        for part in plan.missing:
            chosen = [by_row[tuple(row.items())] for row in plan.part_table(part).to_pylist()]
            commit_part(store, plan, part, encode(torch.stack(chosen), spec))


def make_store(path, *, numerics=1):
    """Z shows the asked-for region in its channel 0, R in its channel 1, both under noise."""
    asked = list(queries())
    noise = torch.Generator().manual_seed(3)
    z = 0.3 * torch.randn(len(asked), 19, CHANNELS, generator=noise)
    for number, (_, place) in enumerate(asked):
        if place is not None:
            z[number, 1 + (place[1] + 4) // 12 * 4 + (place[0] + 6) // 16, 0] += 3.0
    frames = {tuple(frame_row(key).items()): None for key, _ in asked}
    r = {frame: 0.3 * torch.randn(*FINE, CHANNELS, generator=noise) for frame in frames}
    for key, place in asked:
        if place is not None:
            r[tuple(frame_row(key).items())][(place[1] + 4) // 6, (place[0] + 6) // 8, 1] += 3.0
    store = FeatureStore.create(path)
    write_feature(store, z_spec(numerics), [frame_row(key) | {"instruction": key[3]} for key, _ in asked], z)
    write_feature(store, r_spec(), [dict(frame) for frame in frames], list(r.values()))


def label_row(key, place):
    episode, camera, frame, instruction = key
    early = frame < FRAMES // 2
    row = {"episode_index": episode, "frame_index": frame, "camera": camera, "instruction": instruction}
    row |= {"phase": "approach" if early else "carry", "mask_height": HEIGHT, "mask_width": WIDTH}
    if place is None:
        return row | {"target": "", "positive": False, "point_x": None, "point_y": None, "mask": None}
    mask = region(place)
    x, y = innermost_pixel(mask)
    target = instruction.removeprefix("take the ") if early else "white box"
    return row | {"target": target, "positive": True, "point_x": x, "point_y": y, "mask": encode_rle(mask)}


def make_toy(folder: Path):
    """store/, labels.parquet and tiny.yaml in ``folder``; the dataset's root is not in the manifest."""
    make_store(folder / "store")
    rows = [label_row(*query) for query in queries()]
    write_labels(folder / "labels.parquet", pa.Table.from_pylist(rows, schema=LABEL_SCHEMA))
    write_manifest(folder)


def write_manifest(folder: Path, name="tiny", **changes):
    data = {
        "repo_id": REPO,
        "cameras": list(CAMERAS),
        "splits": {"train": [0], "val": [1], "test": [2]},
        "licence": "Apache-2.0",
        "simulated": True,
        "labels": "labels.parquet",
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(data | changes))
    return path


RECIPE = {
    "task": "ground",
    "features": {"z": "z", "r": "r"},
    "decoder": {"dim": 16, "num_layers": 1, "num_heads": 2},
    "head": {"dim": 16, "candidates": 3, "num_heads": 2},
    "optimizer": {"lr": 1e-2},
    "controls": ["instruction_blind", "linear_probe"],
    "steps": 60,
    "batch_size": 16,
    "eval_freq": 20,
    "eval_train_rows": 0,
    "loader": {"threads": 1},
    "device": "cpu",
    "tensorboard": False,
    "progress": False,
}


def train_config(folder: Path, out="run", **changes):
    places = {"store": folder / "store", "manifest": str(folder / "tiny.yaml"), "out": folder / out}
    return build(TrainConfig, RECIPE | places | changes, source="the toy recipe")
