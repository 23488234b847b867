"""How long ``vtt eval`` takes: the whole stage, from the run folder to ``metrics.json``, on simulated features."""

import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
import yaml

from ...pipeline.datasets.labels import LABEL_SCHEMA, encode_rle, innermost_pixel, write_labels
from ...pipeline.errors import ConfigError
from ...pipeline.machine import file_system
from ...pipeline.spec import FeatureSpec, ImageSpec, TokenLayout
from ...train.config import build_config
from ...train.loader import Batch
from ...train.run import train
from ..config import EvalConfig
from ..run import evaluate
from ..subject import open_subject
from .arithmetic import count_flops
from .features import refuse_small_disk
from .run import own_folder
from .table import Bar, Case, Line, StoreBench
from .training_data import (
    EPISODE_FRAMES,
    HEIGHT,
    INSTRUCTIONS,
    OVERRIDES,
    REPO,
    WIDTH,
    frame_rows,
    query_rows,
    write_features,
)

type Size = Literal["tiny", "full-size"]

COARSE, FINE, SIDE_PX = (7, 7), (14, 14), 24
WANTED_QUERIES, MOST_SECONDS = 10_000, 120.0
SPARE_BYTES = 512 << 20
EVAL_BATCH = 128


@dataclass(frozen=True)
class Scale:
    """The sizes of the simulated features and the recipe of the head.

    Args:
        recipe: of the head.
        text: text tokens of Z.
        channels: of Z and R.
    """

    recipe: str
    text: int
    channels: int

    @property
    def specs(self) -> tuple[FeatureSpec, FeatureSpec]:
        """Of Z and R, in bfloat16."""
        compute, image = {"backbone": "simulated", "numerics": 1}, ImageSpec(224, 224)
        layout = TokenLayout(COARSE, prefix=1, text=self.text)
        tokens = 1 + COARSE[0] * COARSE[1] + self.text
        return (
            FeatureSpec("z", "query", (tokens, self.channels), layout, image, "bf16", compute),
            FeatureSpec("r", "frame", (*FINE, self.channels), TokenLayout(FINE), image, "bf16", compute),
        )


SCALES: dict[Size, Scale] = {"tiny": Scale("ground-world", 16, 96), "full-size": Scale("ground", 50, 1024)}
"""The embedded world's and the paper's."""


def bench_eval(
    folder: Path, *, size: Size = "full-size", queries: int = WANTED_QUERIES, quiet: bool = False
) -> StoreBench:
    """Time the evaluation of a grounding head on the CPU, computed in bf16; its weights are those of one step.

    Args:
        folder: where; what is made there is removed again, whatever happens.
        size: of the features and the head.
        queries: of the test split, two a frame, in whole episodes.
        quiet: no progress on stderr.

    Raises:
        ConfigError: too few queries for an episode.
        MachineError: no such folder, not writable, or not enough space.
    """
    scale, a_frame = SCALES[size], len(INSTRUCTIONS)
    episodes = -(-queries // (EPISODE_FRAMES * a_frame))
    if queries < 1:
        raise ConfigError("nothing to measure", found=f"{queries} queries", expected="at least 1")
    with own_folder(folder) as own:
        frames = (episodes + 2) * EPISODE_FRAMES
        z, r = scale.specs
        refuse_small_disk(own, frames * (a_frame * z.row_bytes + r.row_bytes) + SPARE_BYTES)
        _say(f"simulating {frames} frames with {a_frame} queries each, and one step of the head", quiet)
        run = _simulated_run(own, scale, frames, episodes)
        config = EvalConfig((run,), own / "report", device="cpu", figures=False, batch_size=EVAL_BATCH)
        operations = _operations_a_query(config)
        _say("evaluating", quiet)
        case = _timed(config, operations, size)
        kind = file_system(os.stat(own).st_dev) or "an unknown file system"
    place = (
        f"{folder} ({kind}), {os.cpu_count()} cores, {torch.get_num_threads()} threads; SIMULATED features: random "
        f"numbers, Z {z.shape}, R {r.shape}, stored and computed in bf16; no backbone is loaded."
    )
    return StoreBench(place, (case,))


def _timed(config: EvalConfig, operations: int, size: Size) -> Case:
    start, worked = time.perf_counter(), time.process_time()
    report = evaluate(config)
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    head = report.runs[0].head
    judged = head.scores.rows + (head.val.rows if head.val else 0)
    work = operations * judged
    pace = f"{seconds:.1f} s, {judged / seconds:.0f} queries/s, {worked:.1f} CPU s, {work / 1e12:.2f} TFLOP"
    wanted = f"{WANTED_QUERIES:,} queries in less than {MOST_SECONDS:.0f} s"
    bars = (Bar(wanted, seconds / judged * WANTED_QUERIES < MOST_SECONDS),) if size == "full-size" else ()
    line = Line(f"{judged:,} queries", pace, {}, bars=bars)
    share = worked / (seconds * torch.get_num_threads())
    note = f"it got {share:.0%} of the time of {torch.get_num_threads()} cores; little says that the machine was busy"
    return Case(f"vtt eval of a {size} grounding head without controls", (line,), (note,))


def _simulated_run(folder: Path, scale: Scale, frames: int, episodes: int) -> Path:
    """A run folder as training writes it, after one step, beside its store, labels and manifest."""
    rows = frame_rows(frames)
    queries = query_rows(rows)
    write_features(folder / "store", scale.specs, rows, queries)
    write_labels(folder / "labels.parquet", _labels(queries))
    splits = {"train": [0], "val": [1], "test": list(range(2, 2 + episodes))}
    described = {"repo_id": REPO, "cameras": ["main"], "splits": splits, "licence": "apache-2.0", "simulated": True}
    manifest = folder / "simulated.yaml"
    manifest.write_text(yaml.safe_dump(described | {"labels": "labels.parquet"}))
    overrides = (*OVERRIDES, "steps=1", "eval_freq=1", "eval_train_rows=0")
    config = build_config(scale.recipe, overrides, store=folder / "store", manifest=str(manifest), out=folder / "run")
    return train(config).run_dir


def _labels(queries: pa.Table) -> pa.Table:
    """A third of the queries is negative; the others have a square region anywhere."""
    rng = np.random.default_rng(0)
    rows = []
    for key in queries.select([name for name in LABEL_SCHEMA.names if name in queries.column_names]).to_pylist():
        mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
        top, left = rng.integers(0, HEIGHT - SIDE_PX), rng.integers(0, WIDTH - SIDE_PX)
        mask[top : top + SIDE_PX, left : left + SIDE_PX] = True
        x, y = innermost_pixel(mask)
        found = {"target": "cube", "positive": True, "point_x": x, "point_y": y, "mask": encode_rle(mask)}
        nothing = {"target": "", "positive": False, "point_x": None, "point_y": None, "mask": None}
        size = {"phase": "approach", "mask_height": HEIGHT, "mask_width": WIDTH}
        rows.append(key | size | (found if rng.random() > 1 / 3 else nothing))
    return pa.Table.from_pylist(rows, schema=LABEL_SCHEMA)


def _operations_a_query(config: EvalConfig) -> int:
    """Multiplications and additions of the head for one query."""
    with open_subject(replace(config, precision="fp32"), config.runs[0]) as subject:
        numbers = subject.splits["val"][:2]
        rows, targets = subject.examples.rows, subject.examples.targets
        batch: Batch = {name: targets[name][numbers] for name in targets}
        for name, key in subject.inputs.keys.items():
            batch[name] = subject.inputs.store.read(key, rows[name][numbers]).float()
        model = subject.loaded.model
        return count_flops(lambda: subject.task.observe(model, batch)) // len(numbers)


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        print(text, file=sys.stderr)
