"""Open a LeRobot dataset, v3.0 or v2.1, and list its frames; nothing is converted, nothing is written.

What lies where is read by :mod:`.layout_v30` and :mod:`.layout_v21`, the frames by :mod:`.frames`; LeRobot itself is
never imported.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..errors import DatasetError
from ..manifest import DatasetManifest
from ..store.index import FRAME_SCHEMA
from . import layout_v21, layout_v30
from .frames import DecodedFrame, check_frames, decode_frames, stream_frames
from .info import Info, read_info
from .location import locate
from .rows import EpisodeFiles, read_instructions
from .source import Clip, Episode, LeRobotSource, Stills

__all__ = [
    "Clip",
    "DecodedFrame",
    "Episode",
    "LeRobotSource",
    "Stills",
    "check_frames",
    "decode_frames",
    "frame_table",
    "open_source",
    "stream_frames",
    "tasks_of",
]

PREFIX = "observation.images."
LAYOUTS = {"v2.1": layout_v21, "v3.0": layout_v30}


def open_source(
    manifest: DatasetManifest,
    lerobot_home: Path | None = None,
    *,
    hash_cache: Path | None = None,
    missing_videos: bool = False,
) -> LeRobotSource:
    """Open a manifest's dataset and check that its files agree with each other; no video is decoded.

    Args:
        manifest: names the dataset, its cameras and episodes.
        lerobot_home: where LeRobot keeps datasets, if the manifest has no ``root``.
        hash_cache: JSON file that remembers hashes of local files; None = hash every time.
        missing_videos: open it although video files are missing; then asking for one of their frames is the error.

    Raises:
        DatasetError: a dataset, camera, episode or file that is missing (with what is there), of another format
            version, or files that contradict each other (named).
    """
    root, revision = locate(manifest, lerobot_home, hash_cache)
    info = read_info(root)
    layout = LAYOUTS[info.codebase_version]
    available = _cameras(info)
    cameras = {name: _camera(available, name, manifest) for name in manifest.cameras}
    files = layout.read_episodes(root, info, list(cameras.values()))
    chosen = _choose(files, manifest)
    _check_files(root, chosen, missing_videos=missing_videos)
    instructions = read_instructions(root, info, layout.read_tasks(root), chosen)
    return LeRobotSource(
        repo_id=manifest.repo_id,
        revision=revision,
        root=root,
        fps=info.fps,
        cameras=cameras,
        frame_sizes={name: info.features[key].frame_size for name, key in cameras.items()},
        episodes=tuple(_episode(one, instructions[one.index], cameras) for one in chosen),
        lengths={one.index: one.length for one in files},
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


def _cameras(info: Info) -> dict[str, str]:
    """Keys of the colour cameras by short name."""
    return {key.removeprefix(PREFIX): key for key in sorted(info.features) if info.features[key].is_camera}


def _camera(available: Mapping[str, str], name: str, manifest: DatasetManifest) -> str:
    if name not in available:
        raise DatasetError(
            f"{manifest.repo_id}: no colour pictures of a camera `{name}`",
            found=list(available),
            expected=name,
            remedy="correct `cameras` in the manifest",
        )
    return available[name]


def _choose(files: list[EpisodeFiles], manifest: DatasetManifest) -> list[EpisodeFiles]:
    missing = sorted(set(manifest.episodes or ()) - set(range(len(files))))
    if missing:
        raise DatasetError(
            f"{manifest.repo_id}: episodes of the manifest are not in the dataset",
            found=f"0 to {len(files) - 1}",
            expected=missing,
            remedy="correct `episodes` in the manifest",
        )
    return files if manifest.episodes is None else [files[index] for index in sorted(manifest.episodes)]


def _episode(files: EpisodeFiles, instructions: tuple[str, ...], cameras: Mapping[str, str]) -> Episode:
    clips = {name: files.footage[key] for name, key in cameras.items()}
    return Episode(files.index, files.length, instructions, clips)


def _check_files(root: Path, episodes: Iterable[EpisodeFiles], *, missing_videos: bool) -> None:
    """Every file is there, and inside the dataset's folder even where a link stands in its path."""
    chosen = list(episodes)
    data = {one.data for one in chosen}
    videos = {footage.path for one in chosen for footage in one.footage.values()} - data
    home = _home(root)
    folders: dict[Path, str] = {}
    for path in sorted(data | videos):
        at = root / path
        if not at.is_file():
            if missing_videos and path in videos:
                continue
            raise DatasetError(f"no {'video' if path in videos else 'data'} file {at}", remedy=_COPY_AGAIN)
        folder = folders.setdefault(at.parent, os.path.realpath(at.parent))
        real = os.path.realpath(at) if at.is_symlink() else os.path.join(folder, at.name)
        if not real.startswith(home):
            raise DatasetError(
                f"{at} leaves the dataset's folder through a link",
                found=real,
                expected=f"a file in {home}",
                remedy="put the files themselves into the folder",
            )


_COPY_AGAIN = "copy or download the dataset again"


def _home(root: Path) -> str:
    """The folder in which a dataset's files may lie; a snapshot of the Hub links to the blobs beside it."""
    real = Path(os.path.realpath(root))
    if real.parent.name == "snapshots":
        real = real.parent.parent
    return f"{real}{os.sep}"
