"""Lay a v3.0 dataset out as v2.1, byte for byte the same pictures: what an older LeRobot would have left on disk."""

import json
from pathlib import Path

import av
import pyarrow.compute as pc
import pyarrow.parquet as pq

DATA_PATH = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO_PATH = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"


def write_older_layout(source: Path, target: Path, chunks_size: int = 1000) -> Path:
    """Write the v2.1 layout of the v3.0 dataset in ``source`` to ``target``; videos are cut, not encoded again."""
    info = json.loads((source / "meta/info.json").read_text())
    rows = [
        row
        for path in sorted((source / "meta/episodes").glob("*/*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]
    videos = [key for key, feature in info["features"].items() if feature["dtype"] == "video"]
    for row in rows:
        where = {"episode_chunk": row["episode_index"] // chunks_size, "episode_index": row["episode_index"]}
        _write_data(source, target / DATA_PATH.format(**where), info, row)
        for key in videos:
            _cut_video(source, target / VIDEO_PATH.format(video_key=key, **where), info, row, key)
    (target / "meta").mkdir()
    _write_lines(
        target / "meta/episodes.jsonl",
        [{name: row[name] for name in ("episode_index", "tasks", "length")} for row in rows],
    )
    _write_lines(
        target / "meta/episodes_stats.jsonl",
        [{"episode_index": row["episode_index"], "stats": _stats(row)} for row in rows],
    )
    tasks = pq.read_table(source / "meta/tasks.parquet").to_pylist()
    _write_lines(target / "meta/tasks.jsonl", [{"task_index": row["task_index"], "task": row["task"]} for row in tasks])
    counts = {
        "total_videos": len(rows) * len(videos),
        "total_chunks": 1 + (len(rows) - 1) // chunks_size,
        "chunks_size": chunks_size,
    }
    paths = {"data_path": DATA_PATH, "video_path": VIDEO_PATH if videos else None}
    kept = {name: value for name, value in info.items() if not name.endswith("_size_in_mb")}
    (target / "meta/info.json").write_text(json.dumps(kept | {"codebase_version": "v2.1"} | counts | paths))
    return target


def _write_data(source: Path, path: Path, info: dict, row: dict) -> None:
    numbers = {"chunk_index": row["data/chunk_index"], "file_index": row["data/file_index"]}
    table = pq.read_table(source / info["data_path"].format(**numbers))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.filter(pc.equal(table["episode_index"], row["episode_index"])), path)


def _cut_video(source: Path, path: Path, info: dict, row: dict, key: str) -> None:
    numbers = {name: row[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
    start, end = row[f"videos/{key}/from_timestamp"], row[f"videos/{key}/to_timestamp"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        av.open(str(source / info["video_path"].format(video_key=key, **numbers))) as whole,
        av.open(str(path), "w") as cut,
    ):
        stream = whole.streams.video[0]
        copy = cut.add_stream_from_template(stream, opaque=True)
        shift = round(start / stream.time_base)
        for packet in whole.demux(stream):
            if packet.pts is not None and start - 1e-4 <= packet.pts * packet.time_base < end - 1e-4:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                cut.mux(packet)


def _stats(row: dict) -> dict:
    stats: dict[str, dict] = {}
    for name, value in row.items():
        if name.startswith("stats/"):
            feature, _, statistic = name.removeprefix("stats/").rpartition("/")
            stats.setdefault(feature, {})[statistic] = value
    return stats


def _write_lines(path: Path, lines: list[dict]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
