"""Open a LeRobot v3.0 dataset, and list its frames.

The files are read by :mod:`.meta`, the frames by :mod:`.video`; LeRobot itself is never imported.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import DatasetError
from ..manifest import DatasetManifest
from ..store.index import FRAME_SCHEMA
from .location import locate
from .meta import Row, file_path, read_episodes, read_info, read_instructions
from .source import Clip, Episode, LeRobotSource
from .video import DecodedFrame, check_video, decode_frames, stream_frames

__all__ = [
    "Clip",
    "DecodedFrame",
    "Episode",
    "LeRobotSource",
    "check_video",
    "decode_frames",
    "frame_table",
    "open_source",
    "stream_frames",
    "tasks_of",
]

PREFIX = "observation.images."


def open_source(
    manifest: DatasetManifest, lerobot_home: Path | None = None, *, hash_cache: Path | None = None
) -> LeRobotSource:
    """Open a manifest's dataset and check that its files agree with each other; no video is decoded.

    Args:
        manifest: names the dataset, its cameras and episodes.
        lerobot_home: where LeRobot keeps datasets, if the manifest has no ``root``.
        hash_cache: JSON file that remembers hashes of local files; None = hash every time.

    Raises:
        DatasetError: a dataset, camera, episode or file that is missing (with what is there), of another format
            version, or files that contradict each other (named).
    """
    root, revision = locate(manifest, lerobot_home, hash_cache)
    info = read_info(root)
    available = _cameras(info)
    cameras = {name: _camera(available, name, manifest) for name in manifest.cameras}
    rows = read_episodes(root, info, list(cameras.values()))
    chosen = _choose(rows, manifest)
    instructions = read_instructions(root, info, chosen)
    episodes = tuple(_episode(row, instructions[row["episode_index"]], info, cameras) for row in chosen)
    _check_videos_exist(root, episodes)
    return LeRobotSource(
        repo_id=manifest.repo_id,
        revision=revision,
        root=root,
        fps=float(info["fps"]),
        cameras=cameras,
        frame_sizes={name: _frame_size(info["features"][key]) for name, key in cameras.items()},
        episodes=episodes,
        lengths={row["episode_index"]: row["length"] for row in rows},
        all_cameras=tuple(available),
    )


def frame_table(source: LeRobotSource, manifest: DatasetManifest) -> pa.Table:
    """One row a frame, stride applied, ordered by (episode, camera, frame); timestamp = frame_index / fps, seconds."""
    groups = [(episode, camera) for episode in source.episodes for camera in sorted(source.cameras)]
    frames = [np.arange(0, episode.length, manifest.stride) for episode, _ in groups]
    counts = [len(part) for part in frames]
    index = np.concatenate(frames)
    columns = [
        [source.repo_id] * len(index),
        [source.revision] * len(index),
        np.repeat([episode.index for episode, _ in groups], counts),
        index,
        np.repeat([camera for _, camera in groups], counts),
        index / source.fps,
    ]
    return pa.table(
        [pa.array(column, type=kind.type) for column, kind in zip(columns, FRAME_SCHEMA, strict=True)],
        schema=FRAME_SCHEMA,
    )


def tasks_of(source: LeRobotSource, episode: int) -> tuple[str, ...]:
    """The instructions of an episode, in the order in which they first occur."""
    return tuple(dict.fromkeys(source.episode(episode).instructions))


def _cameras(info: Row) -> dict[str, str]:
    """Keys of the colour videos by short name."""
    videos = [key for key, feature in info["features"].items() if feature["dtype"] == "video" and not _depth(feature)]
    return {key.removeprefix(PREFIX): key for key in sorted(videos)}


def _depth(feature: Row) -> bool:
    details = (feature.get("info") or {}) | (feature.get("video_info") or {})
    return bool(details.get("is_depth_map") or details.get("video.is_depth_map"))


def _camera(available: Mapping[str, str], name: str, manifest: DatasetManifest) -> str:
    if name not in available:
        raise DatasetError(
            f"{manifest.repo_id}: no colour video of a camera `{name}`",
            found=list(available),
            expected=name,
            remedy="correct `cameras` in the manifest",
        )
    return available[name]


def _frame_size(feature: Row) -> tuple[int, int]:
    """(height, width): channels come last unless ``names`` says otherwise."""
    shape, names = feature["shape"], feature.get("names")
    if isinstance(names, list) and {"height", "width"} <= set(names):
        return shape[names.index("height")], shape[names.index("width")]
    return shape[0], shape[1]


def _choose(rows: list[dict[str, Any]], manifest: DatasetManifest) -> list[dict[str, Any]]:
    missing = sorted(set(manifest.episodes or ()) - set(range(len(rows))))
    if missing:
        raise DatasetError(
            f"{manifest.repo_id}: episodes of the manifest are not in the dataset",
            found=f"0 to {len(rows) - 1}",
            expected=missing,
            remedy="correct `episodes` in the manifest",
        )
    return rows if manifest.episodes is None else [rows[index] for index in sorted(manifest.episodes)]


def _episode(row: Row, instructions: tuple[str, ...], info: Row, cameras: Mapping[str, str]) -> Episode:
    clips = {
        name: Clip(file_path(info["video_path"], row, f"videos/{key}", key), float(row[f"videos/{key}/from_timestamp"]))
        for name, key in cameras.items()
    }
    return Episode(row["episode_index"], row["length"], instructions, clips)


def _check_videos_exist(root: Path, episodes: Iterable[Episode]) -> None:
    for path in sorted({clip.path for episode in episodes for clip in episode.clips.values()}):
        if not (root / path).is_file():
            raise DatasetError(f"no video file {root / path}", remedy="copy or download the dataset again")
