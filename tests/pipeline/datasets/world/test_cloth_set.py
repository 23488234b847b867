"""``vtt world cloth``: a real LeRobot set, its labels and corners, by the command a user types."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from visual_thought.pipeline.cli import run
from visual_thought.pipeline.datasets.frames import stream_frames
from visual_thought.pipeline.datasets.labels import read_labels, select_labels
from visual_thought.pipeline.datasets.lerobot import open_source
from visual_thought.pipeline.datasets.world.cloth_truth import CORNER_SCHEMA, INSTRUCTIONS
from visual_thought.pipeline.datasets.world.cloths import record_cloth_episode
from visual_thought.pipeline.datasets.world.recording import WorldConfig
from visual_thought.pipeline.manifest import load_manifest

pytestmark = pytest.mark.timeout(400)  # LeRobot's import alone may take a minute
SIZE = {"episodes": 3, "frames": 12, "width": 128, "height": 96, "seed": 4, "workers": 0}
OPTIONS = [text for name, value in SIZE.items() for text in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def cloth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cloth") / "set"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LeRobot's dependencies warn while they are imported
        assert run(["world", "cloth", "--out", str(out), *OPTIONS, "--json"]) == 0
    return out


def test_the_set_lies_whole_in_its_folder(cloth: Path) -> None:
    assert sorted(path.name for path in cloth.iterdir()) == [
        "corners.parquet", "dataset", "labels.parquet", "tabletop_cloth.yaml",
    ]  # fmt: skip
    assert [path.name for path in cloth.parent.iterdir()] == ["set"]
    info = json.loads((cloth / "dataset" / "meta" / "info.json").read_text())
    assert (info["codebase_version"], info["total_episodes"], info["total_frames"]) == ("v3.0", 3, 36)


def test_the_frames_that_come_out_of_the_videos_are_those_that_were_drawn(cloth: Path) -> None:
    manifest = load_manifest(cloth / "tabletop_cloth.yaml")
    drawn = record_cloth_episode(WorldConfig(out=cloth, **SIZE), 1)
    source = open_source(manifest)
    for camera in manifest.cameras:
        decoded = np.stack([frame.rgb for frame in stream_frames(source, camera, [(1, t) for t in range(12)])])
        assert np.abs(decoded.astype(int) - drawn.frames[camera]).mean() < 6


def test_every_frame_is_asked_three_times_and_the_answers_are_those_that_were_drawn(cloth: Path) -> None:
    manifest = load_manifest(cloth / "tabletop_cloth.yaml")
    assert manifest.simulated
    labels = select_labels(read_labels(cloth / "labels.parquet"), manifest)
    assert len(labels) == 3 * 12 * 2 * len(INSTRUCTIONS)
    assert set(labels["instruction"].to_pylist()) == set(INSTRUCTIONS)
    assert {"cloth corner", "held cloth corner", "white box", ""} >= set(labels["target"].to_pylist())
    drawn = {key(row): row["positive"] for row in record_cloth_episode(WorldConfig(out=cloth, **SIZE), 2).labels}
    kept = {key(row): row["positive"] for row in labels.to_pylist() if row["episode_index"] == 2}
    assert kept == drawn


def test_the_corners_are_exact_and_lie_apart_from_what_a_policy_sees(cloth: Path) -> None:
    corners = pq.ParquetFile(cloth / "corners.parquet").read()
    assert corners.schema.equals(CORNER_SCHEMA)
    assert len(corners) == 3 * 12 * 2 * 4
    drawn = record_cloth_episode(WorldConfig(out=cloth, **SIZE), 0).facts
    assert [row for row in corners.to_pylist() if row["episode_index"] == 0] == drawn
    held = [row for row in corners.to_pylist() if row["held"]]
    assert len({(row["episode_index"], row["corner"]) for row in held}) == 3
    features = json.loads((cloth / "dataset" / "meta" / "info.json").read_text())["features"]
    assert not any("corner" in name for name in features)


def test_a_set_is_never_overwritten(cloth: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in cloth.rglob("*")}
    assert run(["world", "cloth", "--out", str(cloth), *OPTIONS]) == 2
    assert "exists already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in cloth.rglob("*")} == before


@pytest.mark.parametrize("change", [["--episodes", "2"], ["--width", "65"], ["--frames", "3"], ["--height", "0"]])
def test_a_size_out_of_range_is_refused_and_leaves_nothing(
    change: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["world", "cloth", "--out", str(tmp_path / "w"), *change]) == 2
    assert change[0] in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["frame_index"], row["camera"], row["instruction"])
