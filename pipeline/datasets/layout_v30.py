"""LeRobot's layout v3.0: many episodes a file.

meta/tasks.parquet                 task_index, and the task as column ``task`` or as pandas' index
meta/episodes/*/*.parquet          episode_index, length, data/{chunk,file}_index,
                                   videos/<key>/{chunk_index,file_index,from_timestamp}
data/…/file-000.parquet            one row a frame; pictures that are no video lie in a column of their own
videos/<key>/…/file-000.mp4        several episodes one after another; an episode begins at its from_timestamp
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DatasetError
from .info import INFO, Info
from .location import EPISODES
from .parquet import INTEGER, NUMBER, TEXT, contradiction, read_columns
from .rows import EpisodeFiles, Tasks, check_episodes, check_tasks
from .source import Clip, Footage, Stills

TASKS = Path("meta/tasks.parquet")
MAX_SECONDS = 1e9
MAX_TASKS = 10**6


def read_episodes(root: Path, info: Info, cameras: Sequence[str]) -> list[EpisodeFiles]:
    """Every episode by rising index, and where its data and the frames of the given cameras (keys) lie.

    Raises:
        DatasetError: episodes or frames that ``info.json`` counts otherwise, a gap in the episode indices, or a path
            that leaves the dataset's folder.
    """
    videos = [key for key in cameras if info.features[key].dtype == "video"]
    columns = dict.fromkeys(("episode_index", "length", "data/chunk_index", "data/file_index"), INTEGER)
    for key in videos:
        columns |= {f"videos/{key}/{name}": INTEGER for name in ("chunk_index", "file_index")}
        columns[f"videos/{key}/from_timestamp"] = NUMBER
    rows: list[dict[str, Any]] = []
    for path in sorted((root / EPISODES).glob("*/*.parquet")):
        rows += read_columns(path, columns, max_rows=info.total_episodes).to_pylist()
        if len(rows) > info.total_episodes:
            raise contradiction(root / INFO, f"{info.total_episodes} episodes", f"more in {root / EPISODES}")
    episodes = [_episode(row, info, cameras) for row in sorted(rows, key=lambda row: row["episode_index"])]
    check_episodes(root, root / EPISODES, info, episodes)
    return episodes


def read_tasks(root: Path) -> Tasks:
    """The instructions by task index."""
    path = root / TASKS
    for name in ("task", "__index_level_0__"):
        try:
            table = read_columns(path, {"task_index": INTEGER, name: TEXT}, max_rows=MAX_TASKS)
        except DatasetError as error:
            if not error.problem.endswith("lacks columns"):
                raise
            continue
        return check_tasks(path, zip(table["task_index"].to_pylist(), table[name].to_pylist(), strict=True))
    raise DatasetError(f"{path} holds no tasks", expected="a column `task`")


def _episode(row: Mapping[str, Any], info: Info, cameras: Sequence[str]) -> EpisodeFiles:
    data = info.data_file(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
    footage: dict[str, Footage] = {}
    for key in cameras:
        if info.features[key].dtype == "image":
            footage[key] = Stills(data, key)
            continue
        group = f"videos/{key}"
        numbers = {name: row[f"{group}/{name}"] for name in ("chunk_index", "file_index")}
        start_s = float(row[f"{group}/from_timestamp"])
        if not 0 <= start_s < MAX_SECONDS:
            raise contradiction(EPISODES, f"an episode that begins at {start_s} s", "a time in its video")
        footage[key] = Clip(info.video_file(key, **numbers), start_s)
    return EpisodeFiles(row["episode_index"], row["length"], data, footage)
