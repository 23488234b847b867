"""A run's answers to every frame of one episode and camera, from the store or from the live backbone."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from ...pipeline.config import build
from ...pipeline.datasets.labels import read_labels
from ...pipeline.datasets.lerobot import LeRobotSource, decode_frames, open_source
from ...pipeline.datasets.masks import decode_rle, innermost_pixel
from ...pipeline.errors import ConfigError, VisualThoughtError
from ...pipeline.manifest import DatasetManifest, episode_ranges, load_manifest
from ...pipeline.record import RunRecord
from ...pipeline.store import FeatureStore
from ...train.loaded import LoadedRun
from .cached import cached_rows
from .features import Clock, LiveFeatures, Picture
from .picture import needed_features, require_instruction
from .pointing import Pointing, Truth, point, require_grounding

FRAMES_AT_ONCE = 16


@dataclass(frozen=True)
class Scene:
    """One episode of a dataset, as one camera saw it, and what is asked about its frames.

    Args:
        manifest: the run's manifest.
        source: the opened dataset.
        episode: its index.
        camera: short name.
        instructions: one a frame.
    """

    manifest: DatasetManifest
    source: LeRobotSource
    episode: int
    camera: str
    instructions: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames in pixels."""
        return self.source.frame_sizes[self.camera]

    @property
    def queries(self) -> pa.Table:
        """One row a frame, as the store calls it."""
        count = len(self.instructions)
        return pa.table(
            {
                "episode_index": pa.array([self.episode] * count, pa.int64()),
                "frame_index": pa.array(range(count), pa.int64()),
                "camera": [self.camera] * count,
                "instruction": list(self.instructions),
            }
        )

    def frames(self) -> Iterator[Picture]:
        """Every frame in order, RGB uint8. Raises FrameError for one that is damaged."""
        wanted = range(len(self.instructions))
        return (frame.rgb for frame in decode_frames(self.source, self.episode, self.camera, wanted))


def open_scene(
    record: RunRecord,
    episode: int,
    camera: str | None,
    *,
    instruction: str | None = None,
    manifest: str | None = None,
    root: Path | None = None,
    lerobot_home: Path | None = None,
    hash_cache: Path | None = None,
) -> Scene:
    """Open the dataset that a run was trained on at one of its episodes.

    Args:
        record: the run's.
        episode: its index in the dataset.
        camera: short name; None is the manifest's first.
        instruction: what is asked about every frame; None is each frame's own task.
        manifest: a name or a path; None is the manifest the run was trained with.
        root: the dataset's folder, if it moved.
        lerobot_home: where LeRobot keeps datasets.
        hash_cache: folder that remembers hashes of dataset files.

    Raises:
        ConfigError: an empty instruction; a camera or an episode that the dataset has not.
        DatasetError: the dataset is gone or damaged.
    """
    if instruction is not None:
        require_instruction(instruction)
    known = manifest_of(record, manifest, root)
    remembered = hash_cache and hash_cache / "datasets.json"
    whole = replace(known, episodes=None)
    source = open_source(whole, lerobot_home, hash_cache=remembered)
    seen_by = camera or known.cameras[0]
    _require(seen_by in source.all_cameras, "camera", seen_by, ", ".join(source.all_cameras), known)
    _require(episode in source.lengths, "episode", episode, episode_ranges(source.lengths), known)
    if seen_by not in source.cameras:
        source = open_source(replace(whole, cameras=(seen_by,)), lerobot_home, hash_cache=remembered)
    own = source.episode(episode).instructions
    return Scene(known, source, episode, seen_by, own if instruction is None else (instruction,) * len(own))


def manifest_of(record: RunRecord, manifest: str | None, root: Path | None) -> DatasetManifest:
    """The manifest as the run recorded it, unless another one is given."""
    if manifest is None:
        recorded = {key: value for key, value in record.manifest.items() if key != "labels_sha256"}
        known = build(DatasetManifest, recorded, source="run.json, manifest")
    else:
        known = load_manifest(manifest)
    return replace(known, root=root) if root else known


def answer_cached(loaded: LoadedRun, scene: Scene, store: FeatureStore, clock: Clock) -> list[Pointing]:
    """The head's answers from the store; errors as of :func:`~.cached.cached_rows`."""
    rows = cached_rows(loaded, store, scene.queries, needed_features(loaded), repo_id=scene.manifest.repo_id)
    found: list[Pointing] = []
    while (part := _timed(clock, "read", rows)) is not None:
        found += _point(loaded, part, scene, clock)
    return found


def answer_live(loaded: LoadedRun, scene: Scene, live: LiveFeatures, clock: Clock) -> list[Pointing]:
    """The head's answers from frames that the backbone sees now."""
    found: list[Pointing] = []
    batches = itertools.batched(zip(scene.frames(), scene.instructions, strict=True), FRAMES_AT_ONCE)
    while (batch := _timed(clock, "decode", batches)) is not None:
        frames, instructions = zip(*batch, strict=True)
        found += _point(loaded, live.rows(frames, instructions, clock), scene, clock)
    return found


def truths_of(scene: Scene) -> tuple[dict[int, Truth], str | None]:
    """What the manifest's labels say about the scene's frames, by frame; and why they say nothing, if so."""
    if scene.manifest.labels is None:
        return {}, "no labels, so nothing is judged"
    try:
        labels = read_labels(scene.manifest.labels)
    except VisualThoughtError as error:
        return {}, f"nothing is judged: {error.problem}"
    of_scene = pc.and_(pc.equal(labels["episode_index"], scene.episode), pc.equal(labels["camera"], scene.camera))
    found = {}
    for row in labels.filter(of_scene).to_pylist():
        frame = row["frame_index"]
        if frame < len(scene.instructions) and row["instruction"] == scene.instructions[frame]:
            found[frame] = _truth(row)
    return found, None if found else "no label is about this episode, camera and instruction, so nothing is judged"


def _truth(row: Mapping[str, object]) -> Truth:
    phase = str(row["phase"])
    if not row["positive"]:
        return Truth(None, None, phase)
    region = None if row["mask"] is None else decode_rle(row["mask"], row["mask_height"], row["mask_width"])  # type: ignore[arg-type]
    if row["point_x"] is None:
        assert region is not None  # a positive row has a point or a mask
        return Truth(region, innermost_pixel(region), phase)
    return Truth(region, (float(row["point_x"]), float(row["point_y"])), phase)  # type: ignore[arg-type]


def _point(loaded: LoadedRun, rows: Mapping[str, Tensor], scene: Scene, clock: Clock) -> list[Pointing]:
    task, device = require_grounding(loaded), clock.device
    with clock.stage("head"):
        return point(task, loaded.model, {name: values.to(device) for name, values in rows.items()}, scene.size)


def _timed[T](clock: Clock, stage: str, items: Iterator[T]) -> T | None:
    with clock.stage(stage):
        return next(items, None)


def _require(holds: bool, what: str, found: object, expected: str, manifest: DatasetManifest) -> None:
    if not holds:
        raise ConfigError(f"{manifest.repo_id} has no {what} {found}", expected=expected, remedy=f"correct --{what}")
