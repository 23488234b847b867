"""The files of a LeRobot v3.0 dataset, read with pyarrow and checked against each other; LeRobot is not imported.

What of the format is relied on:

    meta/info.json                     codebase_version, fps, features, total_{episodes,frames}, {data,video}_path
    meta/tasks.parquet                 task_index, and the task as column ``task`` or as pandas' index
    meta/episodes/*/*.parquet          episode_index, length, data/{chunk,file}_index,
                                       videos/<key>/{chunk_index,file_index,from_timestamp}
    data/…/file-000.parquet            one row a frame: episode_index, frame_index, timestamp, task_index
    videos/<key>/…/file-000.mp4        several episodes one after another; an episode begins at its from_timestamp
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Shaped

from ..errors import DatasetError
from .location import INFO
from .source import TOLERANCE_S

VERSION = "v3.0"
Row = Mapping[str, Any]


def read_info(root: Path) -> dict[str, Any]:
    """``meta/info.json``; raises DatasetError if it is no such file, of another version, or incomplete."""
    path = root / INFO
    try:
        info = dict(json.loads(path.read_text(encoding="utf-8")))
        version, fps = info["codebase_version"], float(info["fps"])
        features = {key: (feature["dtype"], feature["shape"]) for key, feature in info["features"].items()}
        counts = [info["total_episodes"], info["total_frames"], info["data_path"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} is not the info file of a LeRobot dataset", found=repr(error)) from None
    if version != VERSION:
        older = str(version) < VERSION
        raise DatasetError(
            f"{root} is a LeRobot dataset of another format version",
            found=version,
            expected=VERSION,
            remedy="convert it with lerobot's convert_dataset_v21_to_v30" if older else "update visual-thought",
        )
    if not (fps > 0 and features and all(counts)):
        raise DatasetError(f"{path} describes no recording", found=f"fps {fps}, {len(features)} features, {counts}")
    return info


def read_episodes(root: Path, info: Row, keys: Sequence[str]) -> list[dict[str, Any]]:
    """One row an episode, by rising index, with its length and where its data and the given cameras' clips lie.

    Raises:
        DatasetError: episodes or frames that ``info.json`` counts otherwise, or a gap in the episode indices.
    """
    columns = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    columns += [f"videos/{key}/{name}" for key in keys for name in ("chunk_index", "file_index", "from_timestamp")]
    paths = sorted((root / "meta/episodes").glob("*/*.parquet"))
    rows = [row for path in paths for row in _read_parquet(path, columns).to_pylist()]
    rows.sort(key=lambda row: row["episode_index"])
    found, frames = [row["episode_index"] for row in rows], sum(row["length"] for row in rows)
    for name, total, there in (
        ("episodes", info["total_episodes"], len(rows)),
        ("frames", info["total_frames"], frames),
    ):
        if total != there:
            raise contradiction(root / INFO, f"{total} {name}", f"{there} {name} in {root / 'meta/episodes'}")
    if found != list(range(len(rows))) or not rows:
        raise contradiction(root / "meta/episodes", f"episodes {found}", f"0 to {max(found, default=0)}, each once")
    return rows


def read_instructions(root: Path, info: Row, rows: Iterable[Row]) -> dict[int, tuple[str, ...]]:
    """One instruction a frame for every chosen episode, out of the data files; their frames are checked on the way."""
    tasks = _read_tasks(root)
    by_file: dict[Path, list[Row]] = {}
    for row in rows:
        by_file.setdefault(root / file_path(info["data_path"], row, "data"), []).append(row)
    result: dict[int, tuple[str, ...]] = {}
    for path, members in by_file.items():
        table = _read_parquet(path, ["episode_index", "frame_index", "timestamp", "task_index"])
        column = {name: table[name].to_numpy() for name in table.column_names}
        order = np.argsort(column["episode_index"], kind="stable")
        sorted_episodes, wanted = column["episode_index"][order], [row["episode_index"] for row in members]
        starts, ends = (np.searchsorted(sorted_episodes, wanted, side) for side in ("left", "right"))
        for row, start, end in zip(members, starts, ends, strict=True):
            mine = {name: values[order[start:end]] for name, values in column.items()}
            _check_frames(path, row, mine, float(info["fps"]))
            result[row["episode_index"]] = tuple(_task(tasks, number, path) for number in mine["task_index"].tolist())
    return result


def _check_frames(path: Path, row: Row, mine: Mapping[str, Shaped[np.ndarray, " n"]], fps: float) -> None:
    episode, expected = row["episode_index"], np.arange(row["length"])
    if not np.array_equal(mine["frame_index"], expected):
        found = f"{len(mine['frame_index'])} frames of episode {episode}, or others"
        raise contradiction(path, found, f"frames 0 to {row['length'] - 1}, in order")
    late = np.abs(mine["timestamp"] - expected / fps) > TOLERANCE_S
    if late.any():
        frame = int(late.argmax())
        times = (float(mine["timestamp"][frame]), frame / fps)
        raise contradiction(
            path, f"episode {episode} frame {frame} at {times[0]:.4f} s", f"{times[1]:.4f} s at {fps} Hz"
        )


def _read_tasks(root: Path) -> dict[int, str]:
    table = _read_parquet(root / "meta/tasks.parquet", ["task_index"], rest=True)
    names = [name for name in ("task", "__index_level_0__") if name in table.column_names]
    if not names:
        raise DatasetError(f"{root / 'meta/tasks.parquet'} holds no tasks", found=table.column_names, expected="task")
    return dict(zip(table["task_index"].to_pylist(), table[names[0]].to_pylist(), strict=True))


def _task(tasks: Mapping[int, str], number: int, path: Path) -> str:
    if number not in tasks:
        raise contradiction(path, f"task_index {number}", f"one of {sorted(tasks)} (meta/tasks.parquet)")
    return tasks[number]


def file_path(template: str | None, row: Row, group: str, key: str = "") -> Path:
    """A data or video file of an episode, relative to the dataset's folder; raises DatasetError if it lies outside."""
    numbers = {name: row[f"{group}/{name}"] for name in ("chunk_index", "file_index")}
    try:
        path = Path(str(template).format(video_key=key, **numbers))
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise DatasetError(f"{INFO} has a path that cannot be filled in", found=f"{template}: {error}") from None
    if path.is_absolute() or ".." in path.parts:
        raise DatasetError(f"{INFO} has a path that leaves the dataset's folder", found=template)
    return path


def _read_parquet(path: Path, columns: Sequence[str], *, rest: bool = False) -> pa.Table:
    try:
        table = pq.ParquetFile(path).read(columns=None if rest else list(columns))
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(
            f"{path} cannot be read",
            found=str(error).partition("\n")[0],
            expected="a finished parquet file",
            remedy="a recording stopped before `finalize()` leaves files without an end: record or copy it again",
        ) from None
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise DatasetError(f"{path} lacks columns", found=table.column_names, expected=missing)
    empty = [name for name in columns if table[name].null_count]
    if empty:
        raise DatasetError(f"{path} has rows without a value", found=empty)
    return table


def contradiction(path: Path, found: str, expected: str) -> DatasetError:
    """The error of a file that does not agree with the others."""
    return DatasetError(
        f"{path} contradicts the rest of the dataset",
        found=found,
        expected=expected,
        remedy="the recording is not finished, or the copy is not whole: record or copy it again",
    )
