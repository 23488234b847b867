"""The rows of a data manifest: its frames, its queries, and how to decode them."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from ..pipeline.datasets.frames import check_frames, decode_frames
from ..pipeline.datasets.labels import query_table, read_labels
from ..pipeline.datasets.lerobot import frame_table, open_source
from ..pipeline.datasets.source import LeRobotSource
from ..pipeline.manifest import DatasetManifest, load_manifest
from ..pipeline.spec import Per
from .decode import Frame
from .work import FrameId


@dataclass(frozen=True)
class Dataset:
    """An opened manifest."""

    manifest: DatasetManifest
    source: LeRobotSource

    @cached_property
    def frames(self) -> pa.Table:
        """The frame rows of the manifest."""
        return frame_table(self.source, self.manifest)

    @cached_property
    def queries(self) -> pa.Table:
        """The query rows: the manifest's labels if it has some, else every frame with its own task."""
        labels = None if self.manifest.labels is None else read_labels(self.manifest.labels)
        return query_table(self.frames, labels, self.source)

    def rows(self, per: Per) -> pa.Table:
        """The rows of a feature that belongs to frames or to queries."""
        return self.queries if per == "query" else self.frames

    def decode(self, frames: Iterable[FrameId]) -> Iterator[Frame]:
        """Decode frames in order, each proven by its presentation time; rising order reads every video once.

        Before the first frame of an episode, all its videos are checked to be as long as their index, so that nothing
        of a short episode is made.

        Raises:
            DatasetError: a video that is damaged or shorter than its index (episode, camera and time are named).
        """
        for episode, members in itertools.groupby(frames, key=lambda frame: frame.episode):
            wanted = list(members)
            source = self._source_of(wanted)
            for camera in sorted({frame.camera for frame in wanted}):
                check_frames(source, episode, camera)
            for camera, of_camera in itertools.groupby(wanted, key=lambda frame: frame.camera):
                for decoded in decode_frames(source, episode, camera, (frame.frame for frame in of_camera)):
                    yield Frame(decoded.pts_s, decoded.rgb, hashlib.sha256(decoded.rgb).hexdigest())

    def _source_of(self, frames: Iterable[FrameId]) -> LeRobotSource:
        """The manifest's source, or the whole dataset for what an older, larger plan of the store left unfinished."""
        episodes = {episode.index for episode in self.source.episodes}
        inside = all(frame.episode in episodes and frame.camera in self.source.cameras for frame in frames)
        return self.source if inside else self._whole

    @cached_property
    def _whole(self) -> LeRobotSource:
        whole = replace(self.manifest, episodes=None, cameras=self.source.all_cameras, root=self.source.root)
        return open_source(whole)


def open_dataset(
    name_or_path: str | Path, *, lerobot_home: Path | None = None, hash_cache: Path | None = None
) -> Dataset:
    """Open a manifest and the dataset it names; raises ManifestError or DatasetError, before any weights load."""
    manifest = load_manifest(name_or_path)
    remembered = hash_cache and hash_cache / "datasets.json"
    return Dataset(manifest, open_source(manifest, lerobot_home, hash_cache=remembered))
