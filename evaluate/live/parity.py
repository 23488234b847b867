"""Rows of the store computed once more by the live backbone: how far apart they are, and what it does to the head."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...pipeline.datasets.lerobot import LeRobotSource, open_source
from ...pipeline.errors import ConfigError
from ...pipeline.store.fidelity import through
from ...pipeline.store.int8 import ChannelScale
from ...train.loader import Batch
from ..config import EvalConfig
from ..subject import Subject, open_subject
from .backbones import NO_CACHES, Caches
from .cached import read_rows
from .features import LiveFeatures, open_live
from .moved import moved, nearest
from .parity_report import FeatureParity, Parity
from .proven import ProvenFrames
from .tolerance import tolerance_of

SEED = 20260522
FRAMES_AT_ONCE = 16
READ_BY_HEADS = frozenset({"z", "r"})
"""What heads read; what their answers are compared with stays as it is stored."""


class Rows(NamedTuple):
    """The drawn rows of one feature three times, (n, *shape) each.

    Args:
        stored: as the store has them.
        kept: as it would have them today.
        made: as the backbone makes them today, before the storage tier rounds them.
    """

    stored: Float[Tensor, " n *shape"]
    kept: Float[Tensor, " n *shape"]
    made: Float[Tensor, " n *shape"]


class Drawn(NamedTuple):
    """The rows of one feature that are made again: their numbers, and the index's columns."""

    rows: Int[np.ndarray, " n"]
    table: pa.Table


def parity(
    config: EvalConfig,
    run_dir: Path,
    *,
    rows: int = 32,
    seed: int = SEED,
    backbones: Sequence[str] = (),
    caches: Caches = NO_CACHES,
) -> Parity:
    """Make the rows of some examples again, compare them with the store's, and let the head read both.

    Args:
        config: which checkpoint, split, store, manifest and dataset; as for an evaluation.
        run_dir: the run folder.
        rows: examples drawn at random from the split; fewer if it has fewer.
        seed: of the draw.
        backbones: where backbones are now, as ``KIND=CHECKPOINT``.
        caches: folders for file hashes and Hub files.

    Raises:
        ConfigError: no rows asked for, or no such run.
        StoreError: the store is gone or damaged; StoreMismatch: features or weights are others than the run's.
        WeightsError: the backbone's weights are not there.
        DatasetError: the dataset is gone, or its frames are not those that were extracted.
    """
    if rows < 1:
        raise ConfigError("parity needs rows to compare", found=rows, expected="1 or more")
    with open_subject(config, run_dir) as subject:
        source = _open_source(config, subject)
        device = next(subject.loaded.model.parameters()).device
        sizes = set(source.frame_sizes.values())
        live = open_live(
            subject.loaded.record,
            tuple(subject.inputs.readers),
            given=backbones,
            device=device,
            frame_size=sizes.pop() if len(sizes) == 1 else None,
            caches=caches,
        )
        numbers = draw(subject.splits[config.split], rows, seed)
        drawn = {name: _drawn(subject, name, numbers) for name in subject.inputs.readers}
        frames = ProvenFrames(source, subject.inputs)
        rows_of = {name: _rows(subject, name, drawn[name], live, frames) for name in drawn}
        stored = {name: found.stored for name, found in rows_of.items()}
        live_rows = {name: found.kept if name in READ_BY_HEADS else found.stored for name, found in rows_of.items()}
        return Parity(
            run=run_dir,
            seed=seed,
            examples=len(numbers),
            split=config.split,
            simulated=subject.inputs.manifest.simulated,
            device=str(device),
            features=tuple(_compare(subject, name, drawn[name], rows_of[name]) for name in drawn),
            best_by=subject.task.best_by,
            stored=_metrics(subject, numbers, stored, device),
            live=_metrics(subject, numbers, live_rows, device),
        )


def draw(numbers: Int[np.ndarray, " m"], count: int, seed: int) -> Int[np.ndarray, " n"]:
    """At most ``count`` of the numbers, drawn at random, in rising order."""
    return np.sort(np.random.default_rng(seed).permutation(numbers)[:count])


def _open_source(config: EvalConfig, subject: Subject) -> LeRobotSource:
    manifest = subject.inputs.manifest
    manifest = replace(manifest, root=config.root) if config.root else manifest
    return open_source(
        manifest, config.lerobot_home, hash_cache=config.hash_cache and config.hash_cache / "datasets.json"
    )


def _drawn(subject: Subject, name: str, numbers: Int[np.ndarray, " n"]) -> Drawn:
    rows = subject.examples.rows[name][numbers]
    table = subject.inputs.store.index(subject.inputs.keys[name]).take(pa.array(rows))
    return Drawn(rows, table)


def _rows(subject: Subject, name: str, drawn: Drawn, live: LiveFeatures, frames: ProvenFrames) -> Rows:
    stored = read_rows(subject.inputs.readers[name], drawn.rows)
    made = _make(name, drawn.table, live, frames)
    return Rows(stored, _through(made, subject, name), made)


def _make(name: str, table: pa.Table, live: LiveFeatures, frames: ProvenFrames) -> Float[Tensor, " n *shape"]:
    """The feature's rows, made now from the frames and instructions of its index rows."""
    pictures = frames(name, table)
    asked = table["instruction"].to_pylist() if "instruction" in table.column_names else [""] * len(pictures)
    alone = live.only(name)
    return torch.cat(
        [
            alone.rows(pictures[at : at + FRAMES_AT_ONCE], asked[at : at + FRAMES_AT_ONCE])[name].cpu()
            for at in range(0, len(pictures), FRAMES_AT_ONCE)
        ]
    )


def _through(values: Float[Tensor, " n *shape"], subject: Subject, name: str) -> Float[Tensor, " n *shape"]:
    """Rows as the feature's tier would give them back."""
    reader = subject.inputs.readers[name]
    scale: ChannelScale | None = reader.channel_scale
    return torch.from_numpy(through(values.numpy(), reader.spec.tier, scale))


def _compare(subject: Subject, name: str, drawn: Drawn, rows: Rows) -> FeatureParity:
    reader = subject.inputs.readers[name]
    spec, scale = reader.spec, reader.channel_scale
    stored, kept, made = (values.numpy() for values in rows)
    near = (stored, kept) if scale is None else (nearest(stored, made, scale), made)
    cosine, absolute, relative = moved(*near, spec)
    tolerance = tolerance_of(spec)
    far = np.maximum((1 - cosine) / (1 - tolerance.cosine), relative / tolerance.absolute)
    worst = drawn.table.slice(int(far.argmax()), 1).to_pylist()[0]
    place = f"episode {worst['episode_index']}, camera {worst['camera']}, frame {worst['frame_index']}"
    return FeatureParity(
        name=name,
        key=spec.key,
        dtype=str(spec.compute["dtype"]),
        tier=spec.tier,
        rows=len(stored),
        equal=int((stored == kept).reshape(len(stored), -1).all(axis=1).sum()),
        cosine=float(cosine.min()),
        absolute=float(absolute.max()),
        relative=float(relative.max()),
        tolerance=tolerance,
        worst=place,
    )


@torch.inference_mode()
def _metrics(
    subject: Subject,
    numbers: Int[np.ndarray, " n"],
    rows: Mapping[str, Float[Tensor, " n *shape"]],
    device: torch.device,
) -> dict[str, float]:
    """The task's metrics of the head over the drawn examples."""
    chosen = torch.from_numpy(numbers)
    batch: Batch = {name: values.to(device) for name, values in rows.items()}
    batch |= {name: values[chosen].to(device) for name, values in subject.examples.targets.items()}
    seen = subject.task.observe(subject.loaded.model, batch)
    return subject.task.metrics(seen.arrays)
