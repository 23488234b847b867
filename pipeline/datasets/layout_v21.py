"""LeRobot's layout v2.1: one data file and one video a camera for every episode.

meta/tasks.jsonl                       one line a task: task_index, task
meta/episodes.jsonl                    one line an episode: episode_index, length
data/chunk-000/episode_000000.parquet  one row a frame; pictures that are no video lie in a column of their own
videos/chunk-000/<key>/episode_000000.mp4   begins with the episode's frame 0, at time 0
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DatasetError
from .info import Info, parse_json, read_text
from .rows import EpisodeFiles, Tasks, check_episodes, check_tasks
from .source import Clip, Footage, Stills

EPISODES = Path("meta/episodes.jsonl")
TASKS = Path("meta/tasks.jsonl")
MAX_BYTES = 256 << 20
MAX_LINE_BYTES = 1 << 20


def read_episodes(root: Path, info: Info, cameras: Sequence[str]) -> list[EpisodeFiles]:
    """Every episode by rising index, and where its data and the frames of the given cameras (keys) lie.

    Raises:
        DatasetError: episodes or frames that ``info.json`` counts otherwise, a gap in the episode indices, a line
            that says nothing, or a path that leaves the dataset's folder.
    """
    path = root / EPISODES
    numbers = sorted((_integer(path, line, "episode_index"), _integer(path, line, "length")) for line in _lines(path))
    episodes = [_episode(index, length, info, cameras) for index, length in numbers]
    check_episodes(root, path, info, episodes)
    return episodes


def read_tasks(root: Path) -> Tasks:
    """The instructions by task index."""
    path = root / TASKS
    return check_tasks(path, ((_integer(path, line, "task_index"), line.get("task")) for line in _lines(path)))


def _episode(index: int, length: int, info: Info, cameras: Sequence[str]) -> EpisodeFiles:
    where = {"episode_chunk": index // info.chunks_size, "episode_index": index}
    data = info.data_file(**where)
    footage: dict[str, Footage] = {
        key: Stills(data, key) if info.features[key].dtype == "image" else Clip(info.video_file(key, **where), 0.0)
        for key in cameras
    }
    return EpisodeFiles(index, length, data, footage)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(read_text(path, MAX_BYTES).split(b"\n"), 1):
        if len(line) > MAX_LINE_BYTES:
            raise DatasetError(f"{path} has a line that is too long", found=f"line {number}: {len(line)} bytes")
        if line.strip():
            yield parse_json(path, line)


def _integer(path: Path, line: Mapping[str, Any], name: str) -> int:
    value = line.get(name)
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise DatasetError(f"{path} has a line without a whole number `{name}`", found=repr(value)[:200])
    return value
