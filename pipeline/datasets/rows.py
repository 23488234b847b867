"""The rows of a dataset, one a frame, checked against what its metadata says of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from ..errors import DatasetError
from .info import INFO, Info
from .parquet import INTEGER, NUMBER, contradiction, open_parquet, read_columns
from .source import TOLERANCE_S, Footage

MAX_TASK_CHARS = 10_000

type Tasks = Mapping[int, str]


@dataclass(frozen=True)
class EpisodeFiles:
    """An episode's length in frames, its data file, and where its frames lie, by camera key; paths are relative."""

    index: int
    length: int
    data: Path
    footage: Mapping[str, Footage]


def check_episodes(root: Path, where: Path, info: Info, episodes: Sequence[EpisodeFiles]) -> None:
    """Raise DatasetError unless the episodes listed in ``where`` are those that ``info.json`` counts, each once."""
    found, frames = [episode.index for episode in episodes], sum(episode.length for episode in episodes)
    for name, total, there in (
        ("episodes", info.total_episodes, len(episodes)),
        ("frames", info.total_frames, frames),
    ):
        if total != there:
            raise contradiction(root / INFO, f"{total} {name}", f"{there} {name} in {where}")
    if found != list(range(len(episodes))):
        gap = next(at for at, index in enumerate(found) if at != index)
        shown = ", ".join(map(str, found[max(0, gap - 2) : gap + 3]))
        raise contradiction(where, f"episodes … {shown} …", f"0 to {len(found) - 1}, each once")
    empty = [episode.index for episode in episodes if episode.length < 1]
    if empty:
        raise contradiction(where, f"episode {empty[0]} without a frame", "at least one frame an episode")


def check_tasks(path: Path, pairs: Iterable[tuple[object, object]]) -> Tasks:
    """The tasks by index; raises DatasetError for one that is no text, or an index that means two."""
    tasks: dict[int, str] = {}
    for number, text in pairs:
        if type(number) is not int or not isinstance(text, str) or len(text) > MAX_TASK_CHARS:
            raise DatasetError(f"{path} has a task that is no text", found=f"{number!r}: {text!r}"[:200])
        if tasks.setdefault(number, text) != text:
            raise contradiction(path, f"task_index {number} twice", "one task an index")
    if not tasks:
        raise DatasetError(f"{path} holds no tasks")
    return tasks


def read_instructions(
    root: Path, info: Info, tasks: Tasks, episodes: Iterable[EpisodeFiles]
) -> dict[int, tuple[str, ...]]:
    """One instruction a frame for every chosen episode, out of the data files; their frames are checked on the way.

    Raises:
        DatasetError: a file that is damaged, lacks a feature of ``info.json``, has other frames than the episode, or
            names a task that is not there.
    """
    by_file: dict[Path, list[EpisodeFiles]] = {}
    for episode in episodes:
        by_file.setdefault(root / episode.data, []).append(episode)
    result: dict[int, tuple[str, ...]] = {}
    for path, members in by_file.items():
        _check_features(path, info)
        for episode, mine in _rows_of(path, info, members):
            _check_frames(path, episode, mine, info.fps)
            result[episode.index] = tuple(_task(tasks, number, path) for number in mine["task_index"].tolist())
    return result


def _check_features(path: Path, info: Info) -> None:
    with open_parquet(path) as file:
        names = set(file.schema_arrow.names)
    missing = [name for name, feature in info.features.items() if feature.dtype != "video" and name not in names]
    if missing:
        raise contradiction(path, f"no column {', '.join(missing[:8])}", f"every feature of {INFO} that is no video")


def _rows_of(
    path: Path, info: Info, members: Sequence[EpisodeFiles]
) -> Iterable[tuple[EpisodeFiles, dict[str, Shaped[np.ndarray, " n"]]]]:
    columns = {"episode_index": INTEGER, "frame_index": INTEGER, "timestamp": NUMBER, "task_index": INTEGER}
    table = read_columns(path, columns, max_rows=info.total_frames)
    column = {name: table[name].to_numpy() for name in columns}
    order = np.argsort(column["episode_index"], kind="stable")
    starts, ends = (
        np.searchsorted(column["episode_index"][order], [episode.index for episode in members], side)
        for side in ("left", "right")
    )
    for episode, start, end in zip(members, starts, ends, strict=True):
        yield episode, {name: values[order[start:end]] for name, values in column.items()}


def _check_frames(path: Path, episode: EpisodeFiles, mine: Mapping[str, Shaped[np.ndarray, " n"]], fps: float) -> None:
    there = len(mine["frame_index"])
    expected = np.arange(there)  # not of ``length``, which may be any number
    if there != episode.length or not np.array_equal(mine["frame_index"], expected):
        found = f"{there} frames of episode {episode.index}, or others"
        raise contradiction(path, found, f"frames 0 to {episode.length - 1}, in order")
    on_time = np.abs(mine["timestamp"] - expected / fps) <= TOLERANCE_S  # False for NaN
    if not on_time.all():
        frame = int(on_time.argmin())
        times = (float(mine["timestamp"][frame]), frame / fps)
        raise contradiction(
            path, f"episode {episode.index} frame {frame} at {times[0]:.4f} s", f"{times[1]:.4f} s at {fps:g} Hz"
        )


def _task(tasks: Tasks, number: int, path: Path) -> str:
    if number not in tasks:
        raise contradiction(path, f"task_index {number}", f"one of {sorted(tasks)[:50]} (the dataset's tasks)")
    return tasks[number]
