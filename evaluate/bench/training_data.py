"""What the bench of the training reads: a store, labels and a manifest of simulated episodes, as real ones are."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import yaml

from ...pipeline import registry
from ...pipeline.datasets.labels import LABEL_SCHEMA, write_labels
from ...pipeline.spec import FeatureSpec
from ...pipeline.store import FeatureStore, commit_part, plan_array
from ...pipeline.store.commit import own_errors
from ...pipeline.store.tensors import encode
from ...train.config import LoaderConfig, build_config
from ...train.inputs import open_inputs
from ...train.journal import Journal
from ...train.run import build_racers, gather, split_examples
from ...train.sources import MemorySource
from ...train.state import Run
from ...train.tasks.base import Task

REPO = "simulated/cubes"
INSTRUCTIONS = ("pick up the blue cube", "pick up the orange cube")
EPISODE_FRAMES = 32
HEIGHT, WIDTH = 240, 320

OVERRIDES = ("precision=bf16", "controls=[]", "device=cpu", "tensorboard=false", "progress=false")
"""The head alone, on the CPU."""


def frame_rows(frames: int) -> pa.Table:
    """A frame table: episodes of 32 frames of one camera."""
    number = np.arange(frames)
    return pa.table(
        {
            "repo_id": [REPO] * frames,
            "revision": ["0"] * frames,
            "episode_index": number // EPISODE_FRAMES,
            "frame_index": number % EPISODE_FRAMES,
            "camera": ["main"] * frames,
            "timestamp_s": number % EPISODE_FRAMES / 30,
        }
    )


def query_rows(frames: pa.Table, instructions: Sequence[str] = INSTRUCTIONS) -> pa.Table:
    """A query table: every instruction about every frame."""
    each = frames.take(np.repeat(np.arange(len(frames)), len(instructions)))
    return each.append_column("instruction", pa.array(list(instructions) * len(frames)))


def simulate_episodes(folder: Path, specs: Sequence[FeatureSpec], frames: int) -> Path:
    """Write normal numbers as features, two queries a frame, and a point or nothing as the label of each.

    Args:
        folder: a folder of its own; gets ``store/``, ``labels.parquet`` and ``simulated.yaml``.
        specs: the features.
        frames: at least two episodes' worth; the last episode is for validation.

    Returns:
        The manifest.
    """
    rows = frame_rows(frames)
    queries = query_rows(rows)
    write_features(folder / "store", specs, rows, queries)
    manifest = folder / "simulated.yaml"
    with own_errors(manifest):
        write_labels(folder / "labels.parquet", _labels(queries))
        manifest.write_text(yaml.safe_dump(_manifest(frames // EPISODE_FRAMES)))
    return manifest


def write_features(store_dir: Path, specs: Sequence[FeatureSpec], frames: pa.Table, queries: pa.Table) -> None:
    """A new store of normal numbers, one row a frame or a query."""
    generator, store = torch.Generator().manual_seed(0), FeatureStore.create(store_dir)
    for spec in specs:
        (plan,) = plan_array(store, spec, queries if spec.per == "query" else frames)
        for part in plan.missing:
            values = torch.randn((len(plan.part_range(part)), *spec.shape), generator=generator)
            commit_part(store, plan, part, encode(values, spec))


def _labels(queries: pa.Table) -> pa.Table:
    """A third of the queries is negative; the others have a point anywhere."""
    rng = np.random.default_rng(0)
    positive = rng.random(len(queries)) > 1 / 3
    points = rng.uniform((0, 0), (WIDTH, HEIGHT), (len(queries), 2))
    columns = {
        "target": ["cube" if seen else "" for seen in positive],
        "positive": positive,
        "phase": ["approach"] * len(queries),
        "point_x": pa.array(points[:, 0], mask=~positive),
        "point_y": pa.array(points[:, 1], mask=~positive),
        "mask": pa.nulls(len(queries), pa.string()),
        "mask_height": np.full(len(queries), HEIGHT),
        "mask_width": np.full(len(queries), WIDTH),
    }
    keys = {name: queries[name] for name in LABEL_SCHEMA.names if name in queries.column_names}
    return pa.table(keys | columns)


def _manifest(episodes: int) -> dict[str, object]:
    return {
        "repo_id": REPO,
        "cameras": ["main"],
        "splits": {"train": list(range(episodes - 1)), "val": [episodes - 1], "test": []},
        "licence": "apache-2.0",
        "simulated": True,
        "labels": "labels.parquet",
    }


@contextmanager
def open_run(manifest: Path, recipe: str) -> Iterator[Run]:
    """What the training stage steps: the recipe's head and optimiser, and the rows of the store's files."""
    folder = manifest.parent
    overrides = (*OVERRIDES, "loader.residency=disk")
    config = build_config(recipe, overrides, store=folder / "store", manifest=str(manifest), out=folder / "run")
    with ExitStack() as stack:
        inputs = stack.enter_context(open_inputs(config, None))
        task: Task = registry.load("task", config.task)(config, inputs.specs)
        examples, device = task.examples(inputs.manifest, inputs.indexes), torch.device("cpu")
        data = gather(task, inputs, examples, split_examples(inputs.manifest, examples, task.config), device)
        config.out.mkdir()
        journal = stack.enter_context(Journal(config.out, start=0))
        yield Run(task.config, task, build_racers(task, device), data, journal, device, {})


def with_loader(run: Run, **changes: object) -> Run:
    """The same model and optimiser behind another loader."""
    changed: LoaderConfig = replace(run.config.loader, **changes)  # type: ignore[arg-type]
    return replace(run, config=replace(run.config, loader=changed))


def in_memory(run: Run) -> Run:
    """The same run with every row it may ask for in memory, as ``loader.residency=ram`` has it."""
    rows = run.data.examples.rows
    sources = {name: MemorySource(source, rows[name]) for name, source in run.data.sources.items()}
    return replace(run, data=replace(run.data, sources=sources))
