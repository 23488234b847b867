"""Datasets of layout v2.1, judged by LeRobot's own converter."""

import hashlib
import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from older_layout import write_older_layout

from visual_thought.pipeline.datasets.lerobot import check_frames, decode_frames, frame_table, open_source
from visual_thought.pipeline.errors import DatasetError


@pytest.fixture(scope="session", params=["videos", "pictures"])
def older(request, tiny_dataset, tiny_pictures, tmp_path_factory) -> Path:
    """The tiny dataset as v2.1, two episodes a chunk; with videos, then with pictures one by one."""
    source = tiny_dataset if request.param == "videos" else tiny_pictures
    return write_older_layout(source, tmp_path_factory.mktemp("older") / request.param, chunks_size=2)


@pytest.fixture
def older_manifest(older, tiny_manifest):
    return replace(tiny_manifest, root=older)


@pytest.fixture
def damaged(older_manifest, tmp_path):
    """A manifest of a copy that may be damaged."""
    return replace(older_manifest, root=Path(shutil.copytree(older_manifest.root, tmp_path / "copy")))


def tree(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def pixels(source) -> list[tuple]:
    return [
        (camera, frame.episode_index, frame.frame_index, hashlib.sha256(frame.rgb).hexdigest())
        for camera in source.cameras
        for episode in range(3)
        for frame in decode_frames(source, episode, camera, range(10))
    ]


@pytest.fixture
def converted(older, tmp_path, monkeypatch) -> Path:
    """The same dataset after LeRobot's own conversion to v3.0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets
        from lerobot.scripts.convert_dataset_v21_to_v30 import convert_dataset

        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        root = Path(shutil.copytree(older, tmp_path / "converted"))
        convert_dataset("visual-thought/tiny", root=root, push_to_hub=False)
    return root


@pytest.mark.filterwarnings("ignore")
def test_it_reads_as_what_lerobots_own_converter_makes_of_it(older_manifest, converted):
    before = tree(older_manifest.root)
    ours, theirs = open_source(older_manifest), open_source(replace(older_manifest, root=converted))
    assert json.loads((converted / "meta/info.json").read_text())["codebase_version"] == "v3.0"
    assert [(one.index, one.length, one.instructions) for one in ours.episodes] == [
        (one.index, one.length, one.instructions) for one in theirs.episodes
    ]
    assert (ours.fps, ours.frame_sizes, ours.lengths) == (theirs.fps, theirs.frame_sizes, theirs.lengths)
    assert pixels(ours) == pixels(theirs)
    tables = [frame_table(source, older_manifest).drop_columns(["revision"]) for source in (ours, theirs)]
    assert tables[0].equals(tables[1])
    assert tree(older_manifest.root) == before


@pytest.mark.filterwarnings("ignore")
def test_every_row_and_picture_is_the_one_lerobot_reads_after_the_conversion(older_manifest, converted):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("visual-thought/tiny", root=converted, video_backend="pyav")
    source = open_source(older_manifest)
    for item in (dataset[row] for row in range(0, 30, 3)):
        episode, frame = int(item["episode_index"]), int(item["frame_index"])
        assert source.episode(episode).instructions[frame] == item["task"]
        assert frame / source.fps == pytest.approx(float(item["timestamp"]), abs=1e-6)
        for camera, key in source.cameras.items():
            (ours,) = decode_frames(source, episode, camera, [frame])
            theirs = (item[key].permute(1, 2, 0) * 255).round().numpy().astype(np.uint8)
            np.testing.assert_array_equal(ours.rgb, theirs)


def test_its_frames_are_those_of_the_recording_it_was_cut_from(older_manifest, tiny_dataset, tiny_pictures):
    source = open_source(older_manifest)
    recording = tiny_dataset if (older_manifest.root / "videos").is_dir() else tiny_pictures
    assert pixels(source) == pixels(open_source(replace(older_manifest, root=recording)))
    for episode in range(3):
        for camera in source.cameras:
            check_frames(source, episode, camera)


def test_some_episodes_one_camera_and_a_stride_are_kept_to(older_manifest):
    manifest = replace(older_manifest, episodes=(2, 0), cameras=("top",), stride=4)
    source = open_source(manifest)
    assert frame_table(source, manifest)["frame_index"].to_pylist() == [0, 4, 8] * 2
    whole = {(episode, frame): digest for _, episode, frame, digest in pixels(open_source(older_manifest))[30:]}
    for decoded in decode_frames(source, 2, "top", [8, 0, 4]):
        assert hashlib.sha256(decoded.rgb).hexdigest() == whole[2, decoded.frame_index]


def test_its_revision_is_its_content(damaged, older_manifest):
    before = open_source(damaged).revision
    assert before == open_source(older_manifest).revision
    table = pq.read_table(damaged.root / "data/chunk-001/episode_000002.parquet")
    pq.write_table(table, damaged.root / "data/chunk-001/episode_000002.parquet", compression="none")
    assert open_source(damaged).revision != before


@pytest.mark.parametrize("gone", ["meta/tasks.jsonl", "meta/episodes.jsonl", "data/chunk-001/episode_000002.parquet"])
def test_a_missing_file_is_named(damaged, gone):
    (damaged.root / gone).unlink()
    with pytest.raises(DatasetError, match=gone):
        open_source(damaged)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("episodes", '{"episode_index": 0, "tasks": [], "length": 10}\n', "3 episodes"),
        ("episodes", '{"episode_index": 0, "length": "10"}\n', "length"),
        ("episodes", '{"episode_index": true, "length": 10}\n', "episode_index"),
        ("episodes", "[0, 10]\n", "no JSON object"),
        ("episodes", '{"episode_index": 0, "length": 10\n', "not JSON"),
        ("episodes", "[" * 100_000 + "\n", "not JSON"),
        ("episodes", '{"episode_index": NaN, "length": 10}\n', "NaN"),
        ("tasks", '{"task_index": 0, "task": 7}\n', "no text"),
        ("tasks", "\n", "no tasks"),
        ("tasks", '{"task_index": 0, "task": "a"}\n{"task_index": 0, "task": "b"}\n', "twice"),
    ],
)
def test_lines_that_say_nothing_are_refused(damaged, file, text, said):
    (damaged.root / f"meta/{file}.jsonl").write_text(text)
    with pytest.raises(DatasetError) as caught:
        open_source(damaged)
    assert said in str(caught.value)


def test_an_endless_line_is_refused_before_it_is_parsed(damaged):
    (damaged.root / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "' + "x" * (2 << 20) + '"}\n')
    with pytest.raises(DatasetError, match="too long"):
        open_source(damaged)
