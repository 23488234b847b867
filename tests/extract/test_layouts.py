"""The same recording in every layout gives the same features, and stays as it was."""

import hashlib
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from older_layout import write_older_layout

from visual_thought.extract.dataset import open_dataset
from visual_thought.extract.run import extract
from visual_thought.extract.work import frame_ids
from visual_thought.pipeline.store import FeatureStore

BOTH = {"cameras": ["main", "top"], "episodes": [0, 2], "stride": 30}


def tree(root: Path) -> dict[str, str]:
    """Path -> hash of every file."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="session")
def older(recorded, tmp_path_factory) -> Path:
    """The recorded dataset as v2.1, two episodes a chunk."""
    return write_older_layout(recorded, tmp_path_factory.mktemp("older") / "videos", chunks_size=2)


@pytest.fixture(scope="session")
def pictures(recorded, tmp_path_factory) -> Path:
    """What LeRobot's own decoder sees of the recorded dataset, recorded again as pictures one by one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lerobot.datasets.lerobot_dataset import LeRobotDataset

        seen = LeRobotDataset("lab/recorded", root=recorded, video_backend="pyav")
        image = {"dtype": "image", "shape": (48, 64, 3), "names": ["height", "width", "channels"]}
        state = {"dtype": "float32", "shape": (2,), "names": ["x", "y"]}
        features = {"observation.images.main": image, "observation.images.top": image, "observation.state": state}
        root = tmp_path_factory.mktemp("pictures") / "dataset"
        copy = LeRobotDataset.create("lab/recorded", fps=10, features=features, root=root, use_videos=False)
        for row in range(len(seen)):
            item = seen[row]
            frame = {
                key: (item[key].permute(1, 2, 0) * 255).round().numpy().astype(np.uint8) for key in list(features)[:2]
            }
            copy.add_frame(frame | {"observation.state": item["observation.state"].numpy(), "task": item["task"]})
            if row % 90 == 89:
                copy.save_episode()
        copy.finalize()
    return root


def numbers(store: Path) -> dict[str, torch.Tensor]:
    opened = FeatureStore.open(store)
    return {name: opened.read(name, list(range(len(opened.index(name))))) for name in ("z", "r")}


@pytest.fixture(scope="session")
def older_pictures(pictures, tmp_path_factory) -> Path:
    """The pictures as v2.1."""
    return write_older_layout(pictures, tmp_path_factory.mktemp("older") / "pictures")


@pytest.mark.parametrize("layout", ["older", "pictures", "older_pictures"])
def test_every_layout_gives_the_features_of_the_recording(config, manifest, layout, request, tmp_path):
    root = request.getfixturevalue(layout)
    before = tree(root)
    extract(config(manifest=manifest(**BOTH), store=tmp_path / "recorded"))
    extract(config(manifest=manifest(root, **BOTH), store=tmp_path / "other"))
    expected, found = numbers(tmp_path / "recorded"), numbers(tmp_path / "other")
    assert torch.equal(found["z"], expected["z"])
    assert torch.equal(found["r"], expected["r"])
    tables = [FeatureStore.open(tmp_path / name).frames("z") for name in ("recorded", "other")]
    kept = ["repo_id", "episode_index", "frame_index", "camera", "timestamp_s", "instruction", "pixels_sha256"]
    assert tables[0].select(kept).equals(tables[1].select(kept))
    assert tree(root) == before


def test_a_conversion_of_a_dataset_moves_its_revision_and_no_feature(config, manifest, older):
    extract(config(manifest=manifest(**BOTH)))
    again = extract(config(manifest=manifest(older, **BOTH)))
    assert (again.frames, [feature.parts_written for feature in again.features]) == (0, [0, 0])


def test_what_is_proven_of_a_frame_is_its_own_decode(config, manifest, pictures):
    asked = config(manifest=manifest(pictures, **BOTH), features=("r",))
    extract(asked)
    frames = FeatureStore.open(asked.store).frames("r")
    decoded = list(open_dataset(asked.manifest).decode(frame_ids(frames)))
    assert frames["pixels_sha256"].to_pylist() == [hashlib.sha256(frame.rgb.tobytes()).hexdigest() for frame in decoded]
    assert frames["pts_s"].to_pylist() == pytest.approx(frames["timestamp_s"].to_pylist(), abs=1e-6)


def test_an_appended_episode_extracts_only_its_own_rows(config, manifest, older, tmp_path):
    short = Path(shutil.copytree(older, tmp_path / "short"))
    lines = (short / "meta/episodes.jsonl").read_text().splitlines(keepends=True)
    (short / "meta/episodes.jsonl").write_text("".join(lines[:2]))
    change_info(short, total_episodes=2, total_frames=180)
    shutil.rmtree(short / "data/chunk-001")
    extract(config(manifest=manifest(short, stride=30)))
    answer = extract(config(manifest=manifest(older, stride=30)))
    assert [(feature.rows, feature.parts_written) for feature in answer.features] == [(9, 1), (9, 1)]
    store = FeatureStore.open(answer.store)
    assert sorted(array.rows for array in store.arrays()) == [3, 3, 6, 6]


def test_one_edited_frame_is_made_again_and_nothing_else(config, manifest, pictures, tmp_path):
    moved = Path(shutil.copytree(pictures, tmp_path / "moved"))
    extract(config(manifest=manifest(pictures, stride=30)))
    (path,) = (moved / "data").rglob("*.parquet")
    table = pq.read_table(path)
    values = table["observation.images.main"].to_pylist()
    values[30] = values[31]
    position = table.column_names.index("observation.images.main")
    column = pa.array(values, table.schema.field(position).type)
    pq.write_table(table.set_column(position, "observation.images.main", column), path)
    answer = extract(config(manifest=manifest(moved, stride=30)))
    store = FeatureStore.open(answer.store)
    new = [store.index_table(array.index_id) for array in store.arrays() if array.rows == 1]
    assert [(table["episode_index"][0].as_py(), table["frame_index"][0].as_py()) for table in new] == [(0, 30)] * 2
    rows = store.index("r")
    assert pc.sum(pc.equal(rows["frame_index"], 30)).as_py() == 4  # of three episodes, one of them twice


def change_info(root: Path, **changes) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
