"""The rows of a data manifest: its frames, its queries, and how to decode them."""

import hashlib
import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa
from pydantic import JsonValue

from ..pipeline.datasets.frames import check_frames, decode_frames
from ..pipeline.datasets.labels import query_table, read_labels
from ..pipeline.datasets.lerobot import frame_table, open_source
from ..pipeline.datasets.source import LeRobotSource
from ..pipeline.errors import DatasetError
from ..pipeline.manifest import DatasetManifest, load_manifest
from ..pipeline.spec import FeatureSpec, Per
from ..pipeline.store.skipped import Skipped
from .decode import Frame
from .work import FrameId

KEPT_BYTES = 256 << 20
"""Decoded pixels of one episode that are kept until its last frame is proven."""


@dataclass(frozen=True)
class Dataset:
    """An opened manifest."""

    manifest: DatasetManifest
    source: LeRobotSource
    missing_videos: bool = False
    """Whether it was opened although video files are missing."""
    skipped: tuple[Skipped, ...] = ()
    """Episodes of the manifest that were left out because their frames cannot be had."""

    @cached_property
    def frames(self) -> pa.Table:
        """The frame rows of the manifest."""
        return frame_table(self.source, self.manifest)

    @cached_property
    def queries(self) -> pa.Table:
        """The query rows: the manifest's labels if it has some, else every frame with its own task."""
        labels = None if self.manifest.labels is None else read_labels(self.manifest.labels)
        return query_table(self.frames, labels, self.source)

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """(height, width) of the frames in pixels; None if the cameras differ."""
        sizes = {self.source.frame_sizes[camera] for camera in self.source.cameras}
        return sizes.pop() if len(sizes) == 1 else None

    def views(self, specs: Iterable[FeatureSpec]) -> dict[str, JsonValue]:
        """Which of the dataset's cameras stands in which view of a backbone, for the record: ``{camera: {key, view}}``.

        Every camera is put in the view that the feature's fingerprint names, one frame at a time.
        """
        view: dict[str, JsonValue] = {spec.name: spec.compute.get("view", 0) for spec in specs}
        return {camera: {"key": key, "view": view} for camera, key in self.source.cameras.items()}

    def rows(self, per: Per) -> pa.Table:
        """The rows of a feature that belongs to frames or to queries."""
        return self.queries if per == "query" else self.frames

    def decode(self, frames: Iterable[FrameId]) -> Iterator[Frame]:
        """Decode frames in order, each proven by its presentation time; rising order reads every video once.

        Nothing of an episode is given out before all its frames that are asked for were decoded, so that nothing of a
        damaged one is made. Those of an episode above :data:`KEPT_BYTES` are decoded twice rather than kept.

        Raises:
            FrameError: one that is missing or damaged (episode, camera and time are named).
        """
        for _, members in itertools.groupby(frames, key=lambda frame: frame.episode):
            wanted = list(members)
            source = self._source_of(wanted)
            for camera in sorted({frame.camera for frame in wanted}):
                check_frames(source, wanted[0].episode, camera)
            if sum(3 * math.prod(source.frame_sizes[frame.camera]) for frame in wanted) <= KEPT_BYTES:
                yield from list(_decode(source, wanted))
            else:
                deque(_decode(source, wanted), maxlen=0)
                yield from _decode(source, wanted)

    def without(self, skipped: Sequence[Skipped]) -> "Dataset":
        """The same dataset without some of its episodes.

        Raises:
            DatasetError: none is left.
        """
        gone = {one.episode_index for one in skipped}
        left = tuple(episode for episode in self.source.episodes if episode.index not in gone)
        if not left:
            raise DatasetError(
                f"{self.source.repo_id}: no episode is left",
                found=[one.render() for one in skipped][:8],
                remedy="copy or download the dataset again",
            )
        manifest = replace(self.manifest, episodes=tuple(episode.index for episode in left))
        source = replace(self.source, episodes=left)
        return replace(self, manifest=manifest, source=source, skipped=(*self.skipped, *skipped))

    def _source_of(self, frames: Iterable[FrameId]) -> LeRobotSource:
        """The manifest's source, or the whole dataset for what an older, larger plan of the store left unfinished."""
        episodes = {episode.index for episode in self.source.episodes}
        inside = all(frame.episode in episodes and frame.camera in self.source.cameras for frame in frames)
        return self.source if inside else self._whole

    @cached_property
    def _whole(self) -> LeRobotSource:
        whole = replace(self.manifest, episodes=None, cameras=self.source.all_cameras, root=self.source.root)
        return open_source(whole, missing_videos=self.missing_videos)


def _decode(source: LeRobotSource, frames: Sequence[FrameId]) -> Iterator[Frame]:
    """Frames of one episode, camera by camera."""
    for camera, members in itertools.groupby(frames, key=lambda frame: frame.camera):
        for decoded in decode_frames(source, frames[0].episode, camera, (frame.frame for frame in members)):
            yield Frame(decoded.pts_s, decoded.rgb, hashlib.sha256(decoded.rgb).hexdigest())


def open_dataset(
    name_or_path: str | Path,
    *,
    lerobot_home: Path | None = None,
    hash_cache: Path | None = None,
    missing_videos: bool = False,
) -> Dataset:
    """Open a manifest and the dataset it names; raises ManifestError or DatasetError, before any weights load."""
    manifest = load_manifest(name_or_path)
    remembered = hash_cache and hash_cache / "datasets.json"
    source = open_source(manifest, lerobot_home, hash_cache=remembered, missing_videos=missing_videos)
    return Dataset(manifest, source, missing_videos)
