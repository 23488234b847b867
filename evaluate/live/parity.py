"""Rows of the store computed once more by the live backbone: how far apart they are, and what it does to the head."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from ...pipeline.datasets.lerobot import LeRobotSource, decode_frames, open_source
from ...pipeline.errors import ConfigError, DatasetError
from ...pipeline.spec import FeatureSpec
from ...pipeline.store.distortion import cosines
from ...pipeline.store.fidelity import through
from ...pipeline.store.int8 import ChannelScale
from ...train.loader import Batch
from ..config import EvalConfig
from ..subject import Subject, open_subject
from .backbones import NO_CACHES, Caches
from .cached import read_rows
from .features import LiveFeatures, Picture, open_live
from .tolerance import Tolerance, tolerance_of

SEED = 20260522
FRAMES_AT_ONCE = 16
READ_BY_HEADS = frozenset({"z", "r"})
"""What heads read; what their answers are compared with stays as it is stored."""


@dataclass(frozen=True)
class FeatureParity:
    """One feature's stored rows beside the same rows made now.

    Args:
        name: the run's name of it.
        key: the store's.
        dtype: compute type.
        tier: storage tier.
        rows: rows compared.
        equal: of them, those that are equal bit for bit.
        cosine: the worst cosine of a token with itself.
        absolute: the largest difference of two numbers.
        relative: the largest difference as a share of the largest number of its token.
        tolerance: for ``cosine`` and ``relative``.
        worst: the row that is furthest off.
    """

    name: str
    key: str
    dtype: str
    tier: str
    rows: int
    equal: int
    cosine: float
    absolute: float
    relative: float
    tolerance: Tolerance
    worst: str

    @property
    def holds(self) -> bool:
        """Whether the feature is within tolerance."""
        return self.cosine >= self.tolerance.cosine and self.relative <= self.tolerance.absolute


@dataclass(frozen=True)
class Parity:
    """What :func:`parity` found.

    Args:
        run: the run folder.
        seed: of the draw.
        examples: examples drawn.
        split: of which split.
        device: where the backbone ran.
        features: feature by feature.
        best_by: the metric by which the run chose its best checkpoint.
        stored: the task's metrics over the drawn examples, the head reading the store's rows.
        live: the same, reading the rows made now.
    """

    run: Path
    seed: int
    examples: int
    split: str
    device: str
    features: tuple[FeatureParity, ...]
    best_by: str
    stored: Mapping[str, float]
    live: Mapping[str, float]

    @property
    def holds(self) -> bool:
        """Whether every feature is within its tolerance."""
        return all(feature.holds for feature in self.features)

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        features = {
            one.name: {**vars(one), "tolerance": one.tolerance.to_json(), "holds": one.holds} for one in self.features
        }
        return {**vars(self), "run": str(self.run), "features": features, "holds": self.holds}

    def render(self) -> str:
        """A table for people."""
        title = (
            f"{self.run.resolve().name}: {self.examples} examples of {self.split}, the backbone live on {self.device}"
        )
        head = f"  {'feature':<12}{'compute':<9}{'stored':<8}{'worst cosine':<24}{'worst |Δ|':<12}{'of its token':<22}equal"
        before, after = self.stored[self.best_by], self.live[self.best_by]
        change = f"  {self.best_by} of the head on these: {before:.4f} from the store, {after:.4f} live"
        verdict = "  within tolerance" if self.holds else "  OUTSIDE tolerance: " + "; ".join(self._faults())
        lines = [_line(feature) for feature in self.features]
        return "\n".join([title, head, *lines, f"{change}, change {after - before:+.4f}", verdict])

    def _faults(self) -> list[str]:
        return [f"{one.name}, furthest off in {one.worst}" for one in self.features if not one.holds]


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
        frames = _Frames(source, subject)
        stored = {name: read_rows(reader, drawn[name].rows) for name, reader in subject.inputs.readers.items()}
        made = {name: _make(name, drawn[name].table, live, frames) for name in drawn}
        kept = {name: _through(values, subject, name) for name, values in made.items()}
        live_rows = {name: kept[name] if name in READ_BY_HEADS else values for name, values in stored.items()}
        return Parity(
            run=run_dir,
            seed=seed,
            examples=len(numbers),
            split=config.split,
            device=str(device),
            features=tuple(_compare(subject, name, drawn[name], stored[name], kept[name]) for name in drawn),
            best_by=subject.task.best_by,
            stored=_metrics(subject, numbers, stored, device),
            live=_metrics(subject, numbers, live_rows, device),
        )


def draw(numbers: Int[np.ndarray, " m"], count: int, seed: int) -> Int[np.ndarray, " n"]:
    """At most ``count`` of the numbers, drawn at random, in rising order."""
    return np.sort(np.random.default_rng(seed).permutation(numbers)[:count])


class _Frames:
    """Frames of the dataset, each proven to be the one that was extracted."""

    def __init__(self, source: LeRobotSource, subject: Subject) -> None:
        self._source, self._known = source, dict[tuple[int, str, int], Picture]()
        self._store, self._keys = subject.inputs.store, subject.inputs.keys

    def __call__(self, name: str, table: pa.Table) -> list[Picture]:
        """The frame of every row."""
        places = _places(table)
        for episode, camera in sorted({(episode, camera) for episode, camera, _ in places}):
            wanted = sorted({place[2] for place in places if place[:2] == (episode, camera)})
            new = [frame for frame in wanted if (episode, camera, frame) not in self._known]
            for found in decode_frames(self._source, episode, camera, new):
                self._known[episode, camera, found.frame_index] = found.rgb
        self._prove(name, places)
        return [self._known[place] for place in places]

    def _prove(self, name: str, places: Sequence[tuple[int, str, int]]) -> None:
        """DatasetError for a frame whose pixels are not those the feature was made from."""
        seen = self._store.frames(self._keys[name])
        hashes = dict(zip(_places(seen), seen["pixels_sha256"].to_pylist(), strict=True))
        for place in places:
            expected = hashes.get(place)
            found = hashlib.sha256(np.ascontiguousarray(self._known[place])).hexdigest()
            if expected is not None and expected != found:
                raise DatasetError(
                    "the dataset's frames are not the ones the store was made from",
                    found=f"other pixels in episode {place[0]}, camera {place[1]}, frame {place[2]}",
                    expected=f"pixels with sha256 {expected[:16]}…",
                    remedy="name the dataset's folder with --root, or extract it into a store of its own",
                )


def _places(table: pa.Table) -> list[tuple[int, str, int]]:
    columns = (table[name].to_pylist() for name in ("episode_index", "camera", "frame_index"))
    return list(zip(*columns, strict=True))


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


def _make(name: str, table: pa.Table, live: LiveFeatures, frames: _Frames) -> Float[Tensor, "n *shape"]:
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


def _through(values: Float[Tensor, "n *shape"], subject: Subject, name: str) -> Float[Tensor, "n *shape"]:
    """Rows as the feature's tier would give them back."""
    reader = subject.inputs.readers[name]
    scale: ChannelScale | None = reader.channel_scale
    return torch.from_numpy(through(values.numpy(), reader.spec.tier, scale))


def _compare(
    subject: Subject, name: str, drawn: Drawn, stored: Float[Tensor, "n *shape"], live: Float[Tensor, "n *shape"]
) -> FeatureParity:
    spec: FeatureSpec = subject.inputs.readers[name].spec
    x, y = stored.numpy(), live.numpy()
    cosine, absolute, relative = _differences(x, y)
    tolerance = tolerance_of(spec)
    far = np.maximum((1 - cosine) / (1 - tolerance.cosine), relative / tolerance.absolute)
    worst = drawn.table.slice(int(far.argmax()), 1).to_pylist()[0]
    place = f"episode {worst['episode_index']}, camera {worst['camera']}, frame {worst['frame_index']}"
    return FeatureParity(
        name=name,
        key=spec.key,
        dtype=str(spec.compute["dtype"]),
        tier=spec.tier,
        rows=len(x),
        equal=int((x == y).reshape(len(x), -1).all(axis=1).sum()),
        cosine=float(cosine.min()),
        absolute=float(absolute.max()),
        relative=float(relative.max()),
        tolerance=tolerance,
        worst=place,
    )


def _differences(
    x: Float32[np.ndarray, "n *shape"], y: Float32[np.ndarray, "n *shape"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Each row's worst token: its cosine, its largest difference, and that as a share of the token's largest number."""
    a, b = (values.reshape(-1, values.shape[-1]).astype(np.float64) for values in (x, y))
    moved, size = np.abs(a - b).max(axis=1), np.abs(a).max(axis=1)
    relative = np.divide(moved, size, out=np.where(moved > 0, np.inf, 0.0), where=size > 0)
    by_row = [values.reshape(len(x), -1) for values in (cosines(a, b), moved, relative)]
    return by_row[0].min(axis=1), by_row[1].max(axis=1), by_row[2].max(axis=1)


@torch.inference_mode()
def _metrics(
    subject: Subject,
    numbers: Int[np.ndarray, " n"],
    rows: Mapping[str, Float[Tensor, "n *shape"]],
    device: torch.device,
) -> dict[str, float]:
    """The task's metrics of the head over the drawn examples."""
    chosen = torch.from_numpy(numbers)
    batch: Batch = {name: values.to(device) for name, values in rows.items()}
    batch |= {name: values[chosen].to(device) for name, values in subject.examples.targets.items()}
    seen = subject.task.observe(subject.loaded.model, batch)
    return subject.task.metrics(seen.arrays)


def _line(one: FeatureParity) -> str:
    cosine = f"{one.cosine:.7f} (≥ {one.tolerance.cosine:.5f})"
    share = f"{one.relative:.5f} (≤ {one.tolerance.absolute:.4f})"
    return f"  {one.key:<12}{one.dtype:<9}{one.tier:<8}{cosine:<24}{one.absolute:<12.3g}{share:<22}{one.equal} of {one.rows}"
