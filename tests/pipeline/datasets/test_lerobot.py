import json
import shutil
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visual_thought.pipeline.datasets.lerobot import decode_frames, frame_table, open_source, tasks_of
from visual_thought.pipeline.datasets.location import local_revision
from visual_thought.pipeline.errors import DatasetError
from visual_thought.pipeline.store.index import canonical

INFO = Path("meta/info.json")
DATA = Path("data/chunk-000/file-000.parquet")
EPISODES = Path("meta/episodes/chunk-000/file-000.parquet")
MAIN = Path("videos/observation.images.main/chunk-000/file-000.mp4")


@pytest.fixture
def damaged(tiny_manifest, tmp_path):
    """A manifest of a copy of the tiny dataset that may be damaged."""
    shutil.copytree(tiny_manifest.root, tmp_path / "copy")
    return replace(tiny_manifest, root=tmp_path / "copy")


def change_info(manifest, **changes):
    path = manifest.root / INFO
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_column(path: Path, name: str, change) -> None:
    table = pq.read_table(path)
    values = change(table[name].to_pylist())
    position = table.column_names.index(name)
    pq.write_table(table.set_column(position, name, pa.array(values, table.schema.field(name).type)), path)


def error_of(manifest) -> str:
    start = time.process_time()
    with pytest.raises(DatasetError) as caught:
        open_source(manifest)
    assert time.process_time() - start < 5
    return str(caught.value)


def test_an_opened_dataset_says_what_it_holds(tiny_manifest):
    source = open_source(tiny_manifest)
    assert source.repo_id == "visual-thought/tiny"
    assert source.fps == 15
    assert source.cameras == {"main": "observation.images.main", "top": "observation.images.top"}
    assert source.frame_sizes == {"main": (48, 64), "top": (48, 64)}
    assert [(episode.index, episode.length) for episode in source.episodes] == [(0, 10), (1, 10), (2, 10)]
    assert tasks_of(source, 1) == ("Pick up blue cube and place inside white box",)


def test_values_and_pixels_are_lerobots_own(tiny_manifest):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lerobot.datasets.lerobot_dataset import LeRobotDataset

        theirs = LeRobotDataset(tiny_manifest.repo_id, root=tiny_manifest.root, video_backend="pyav")
        items = [theirs[index] for index in (0, 13, 29)]
    source = open_source(tiny_manifest)
    for item in items:
        episode, frame = int(item["episode_index"]), int(item["frame_index"])
        assert source.episode(episode).instructions[frame] == item["task"]
        assert frame / source.fps == pytest.approx(float(item["timestamp"]), abs=1e-6)
        for camera, key in source.cameras.items():
            (ours,) = decode_frames(source, episode, camera, [frame])
            picture = (item[key].permute(1, 2, 0) * 255).round().to(dtype=item[key].dtype).numpy().astype(np.uint8)
            np.testing.assert_array_equal(ours.rgb, picture)


def test_the_frame_table_is_ordered_as_a_store_orders_it(tiny_manifest):
    source = open_source(tiny_manifest)
    table = frame_table(source, tiny_manifest)
    assert table.equals(canonical(table, "frame"))
    assert table.num_rows == 3 * 10 * 2
    first = table.slice(0, 1).to_pylist()[0]
    assert first == {
        "repo_id": "visual-thought/tiny",
        "revision": source.revision,
        "episode_index": 0,
        "frame_index": 0,
        "camera": "main",
        "timestamp_s": 0.0,
    }
    assert table["timestamp_s"].to_pylist()[9] == 9 / 15


def test_stride_episodes_and_cameras_of_the_manifest_are_kept_to(tiny_manifest):
    manifest = replace(tiny_manifest, stride=4, episodes=(2, 0), cameras=("top",))
    table = frame_table(open_source(manifest), manifest)
    assert table["episode_index"].to_pylist() == [0, 0, 0, 2, 2, 2]
    assert table["frame_index"].to_pylist() == [0, 4, 8] * 2
    assert set(table["camera"].to_pylist()) == {"top"}


def test_a_dataset_is_found_in_lerobots_home(tiny_manifest, tmp_path):
    (tmp_path / "visual-thought").mkdir()
    (tmp_path / "visual-thought/tiny").symlink_to(tiny_manifest.root)
    source = open_source(replace(tiny_manifest, root=None), tmp_path)
    assert source.root == tmp_path / "visual-thought/tiny"
    assert source.revision == open_source(tiny_manifest).revision


def test_a_missing_camera_names_those_there_are(tiny_manifest):
    message = error_of(replace(tiny_manifest, cameras=("main", "wrist")))
    assert "`wrist`" in message
    assert "main, top" in message


def test_a_missing_episode_names_those_there_are(tiny_manifest):
    message = error_of(replace(tiny_manifest, episodes=(1, 7)))
    assert "7" in message
    assert "0 to 2" in message


def test_a_missing_root_says_what_is_there(tiny_manifest, tmp_path):
    (tmp_path / "photos").mkdir()
    assert "photos" in error_of(replace(tiny_manifest, root=tmp_path))
    assert "no such folder" in error_of(replace(tiny_manifest, root=tmp_path / "absent"))


def test_a_dataset_that_is_nowhere_says_what_to_do(tiny_manifest, tmp_path):
    message = error_of(replace(tiny_manifest, root=None))
    assert "set `root`" in message
    with pytest.raises(DatasetError, match="nothing at"):
        open_source(replace(tiny_manifest, root=None), tmp_path)


@pytest.mark.parametrize(("version", "remedy"), [("v2.0", "convert it"), ("v3.1", "update"), (3, "update")])
def test_another_format_version_is_refused(damaged, version, remedy):
    change_info(damaged, codebase_version=version)
    message = error_of(damaged)
    assert str(version) in message
    assert remedy in message


def test_a_parquet_without_its_end_is_named(damaged):
    for name in (DATA, EPISODES):
        path = damaged.root / name
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        message = error_of(damaged)
        assert str(path) in message
        assert "finalize" in message
        path.write_bytes(whole)


def test_an_info_file_of_another_rate_is_named(damaged):
    change_info(damaged, fps=30)
    message = error_of(damaged)
    assert "episode 0 frame 1 at 0.0667 s" in message
    assert "0.0333 s at 30 Hz" in message


@pytest.mark.parametrize("changes", [{"total_episodes": 4}, {"total_frames": 31}])
def test_an_info_file_that_counts_otherwise_is_named(damaged, changes):
    change_info(damaged, **changes)
    message = error_of(damaged)
    assert "info.json" in message
    assert str(next(iter(changes.values()))) in message


@pytest.mark.parametrize("changes", [{"fps": 0}, {"features": {}}, {"features": None}, {"total_frames": None}])
def test_an_info_file_that_describes_nothing_is_refused(damaged, changes):
    change_info(damaged, **changes)
    assert "info.json" in error_of(damaged)


@pytest.mark.parametrize(
    "changes",
    [
        {"fps": True},
        {"fps": float("inf")},
        {"fps": 1e9},
        {"total_frames": 10**12},
        {"total_episodes": -3},
        {"chunks_size": 0},
        {"data_path": "x" * 1000},
        {"features": {"a": {"dtype": "float32", "shape": [1] * 9}}},
        {"features": {"a": {"dtype": "float32", "shape": ["6"]}}},
    ],
)
def test_an_info_file_beyond_all_bounds_is_refused(damaged, changes):
    change_info(damaged, **changes)
    assert "info.json" in error_of(damaged)


@pytest.mark.parametrize("text", ["[" * 10**6, "[1]", '{"fps": 1, "fps": 2}', " " * (5 << 20), "", "{\\x00}"])
def test_an_info_file_that_is_no_plain_json_is_refused(damaged, text):
    (damaged.root / INFO).write_text(text)
    assert "info.json" in error_of(damaged)


def test_a_feature_that_the_data_lacks_is_named(damaged):
    info = json.loads((damaged.root / INFO).read_text())
    change_info(damaged, features=info["features"] | {"gripper": {"dtype": "float32", "shape": [1], "names": None}})
    assert "gripper" in error_of(damaged)


def test_columns_of_another_type_are_refused(damaged):
    table = pq.read_table(damaged.root / DATA)
    words = pa.array([str(value) for value in table["frame_index"].to_pylist()])
    position = table.column_names.index("frame_index")
    pq.write_table(table.set_column(position, "frame_index", words), damaged.root / DATA)
    assert "frame_index: string" in error_of(damaged)


def test_a_clip_that_begins_at_no_time_is_refused(damaged):
    column = "videos/observation.images.main/from_timestamp"
    change_column(damaged.root / EPISODES, column, lambda times: [float("nan"), *times[1:]])
    assert "begins at nan s" in error_of(damaged)


def test_a_file_with_more_rows_than_the_dataset_is_not_read(damaged):
    table = pq.read_table(damaged.root / DATA)
    pq.write_table(pa.concat_tables([table, table]), damaged.root / DATA)
    assert "60 rows" in error_of(damaged)


@pytest.mark.parametrize("name", ["video", "data", "folder"])
def test_a_link_out_of_the_folder_is_refused(damaged, tmp_path, name):
    path = damaged.root / (DATA if name == "data" else MAIN)
    path = path.parent if name == "folder" else path
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    message = error_of(damaged)
    assert "leaves the dataset's folder" in message
    assert str(tmp_path / "elsewhere") in message


@pytest.mark.parametrize(
    "path",
    [
        "/etc/{video_key}.mp4",
        "../{video_key}/{chunk_index}.mp4",
        "videos/{nothing}.mp4",
        "videos/{chunk_index.__class__}.mp4",
        "videos/{chunk_index!r}.mp4",
        "videos/{chunk_index:0999999999d}.mp4",
        "videos/{chunk_index:{chunk_index}}.mp4",
        "videos/{",
        "videos/{0}.mp4",
        "videos/\0{chunk_index}.mp4",
    ],
)
def test_a_path_that_leaves_the_folder_is_refused(damaged, path):
    change_info(damaged, video_path=path)
    assert "info.json has a path that" in error_of(damaged)
    change_info(damaged, video_path="{video_key}.mp4", data_path=path.replace("{video_key}", ""))
    assert "info.json has a path that" in error_of(damaged)


def test_a_gap_in_the_episode_indices_is_refused(damaged):
    change_column(damaged.root / EPISODES, "episode_index", lambda _: [0, 1, 3])
    assert "0, 1, 3" in error_of(damaged)


def test_frames_that_are_missing_from_the_data_are_refused(damaged):
    table = pq.read_table(damaged.root / DATA)
    pq.write_table(table.slice(0, 28), damaged.root / DATA)
    message = error_of(damaged)
    assert "8 frames of episode 2" in message
    assert str(damaged.root / DATA) in message


def test_a_timestamp_that_is_not_the_frames_own_is_refused(damaged):
    change_column(damaged.root / DATA, "timestamp", lambda times: [*times[:12], times[12] + 0.01, *times[13:]])
    assert "episode 1 frame 2" in error_of(damaged)


def test_an_unknown_task_is_refused(damaged):
    change_column(damaged.root / DATA, "task_index", lambda tasks: [9, *tasks[1:]])
    assert "task_index 9" in error_of(damaged)


def test_tasks_in_pandas_index_are_read(damaged):
    path = damaged.root / "meta/tasks.parquet"
    table = pq.read_table(path).rename_columns({"task": "__index_level_0__"})
    pq.write_table(table, path)
    assert tasks_of(open_source(damaged), 0) == ("Pick up orange cube and place inside white box",)


def test_a_missing_video_file_is_named(damaged):
    (damaged.root / MAIN).unlink()
    assert str(damaged.root / MAIN) in error_of(damaged)


def test_the_local_revision_is_the_content_of_the_files_that_matter(damaged, tiny_manifest):
    before = open_source(damaged).revision
    assert before == open_source(tiny_manifest).revision
    assert before.startswith("local-")
    assert len(before) == len("local-") + 16
    (damaged.root / "meta/stats.json").write_text("{}")
    assert open_source(damaged).revision == before
    change_column(damaged.root / EPISODES, "stats/action/mean", lambda values: values[::-1])
    assert open_source(damaged).revision == before
    column = "videos/observation.images.main/from_timestamp"
    change_column(damaged.root / EPISODES, column, lambda times: [times[0], times[1] + 1 / 15, *times[2:]])
    assert open_source(damaged).revision != before
    change_column(damaged.root / EPISODES, column, lambda times: [times[0], times[1] - 1 / 15, *times[2:]])
    assert open_source(damaged).revision == before
    with (damaged.root / MAIN).open("r+b") as file:
        file.seek(3000)
        file.write(b"x")
    assert open_source(damaged).revision != before


def test_remembered_hashes_give_the_same_revision_and_notice_a_change(damaged, tmp_path):
    cache = tmp_path / "cache/hashes.json"
    fresh = local_revision(damaged.root)
    assert local_revision(damaged.root, cache) == fresh
    assert local_revision(damaged.root, cache) == fresh
    remembered = json.loads(cache.read_text())
    assert len(remembered) == 5
    cache.write_text("torn {")
    assert local_revision(damaged.root, cache) == fresh
    change_info(damaged, robot_type="another")
    assert local_revision(damaged.root, cache) == local_revision(damaged.root) != fresh


def test_a_copy_in_the_hubs_cache_has_its_commit_as_revision(tiny_manifest, tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(tiny_manifest.root, tmp_path / "snapshots" / commit)
    assert open_source(replace(tiny_manifest, root=tmp_path / "snapshots" / commit)).revision == commit


OFFLINE = """
import sys
from pathlib import Path
from visual_thought.pipeline.datasets.lerobot import open_source
from visual_thought.pipeline.errors import DatasetError
from visual_thought.pipeline.manifest import load_manifest
try:
    print(open_source(load_manifest(sys.argv[1]), Path(sys.argv[2])).revision)
except DatasetError as error:
    print(error)
"""


def offline(manifest_path: Path, home: Path) -> str:
    command = [sys.executable, "-c", OFFLINE, str(manifest_path), str(home)]
    environment = {"HF_HUB_OFFLINE": "1", "HOME": str(home), "PATH": "/usr/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_dataset_of_the_hub_is_taken_from_the_cache_when_offline(tiny_dataset, tmp_path):
    manifest = tmp_path / "tiny.yaml"
    manifest.write_text(
        "{repo_id: lab/tiny, revision: v3.0, cameras: [main], splits: {seed: 0, val: 0.3, test: 0.3}, "
        "licence: none, simulated: true}"
    )
    missing = offline(manifest, tmp_path)
    assert "lab/tiny at revision v3.0 could not be fetched" in missing
    assert "set `root` in the manifest" in missing
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "hub/datasets--lab--tiny"
    shutil.copytree(tiny_dataset, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs/v3.0").write_text(commit)
    assert offline(manifest, tmp_path).strip() == commit
