"""Distillation and dense maps judged on a real store and real, short runs, against loops over single frames."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from visual_thought.evaluate.config import EvalConfig
from visual_thought.evaluate.run import evaluate
from visual_thought.pipeline.errors import StoreError, WeightsError
from visual_thought.pipeline.store import FeatureStore
from visual_thought.train.loaded import load_run
from visual_thought.train.run import train

sys.path.append(str(Path(__file__).parents[1] / "train"))
from expert_toys import expert_config, make_experts

TASKS = ("distill", "dense")
TEACHER = {"distill": "e", "dense": "y"}
OBJECTIVE = {"distill": {"normalise": "channel"}, "dense": {}}


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """A folder with the toy store and a run of each task; ``dense`` was trained without its target mean."""
    folder = tmp_path_factory.mktemp("studied")
    make_experts(folder)
    for task, controls in (("distill", ["target_mean", "linear_probe"]), ("dense", ["linear_probe"])):
        train(expert_config(task, folder, task, objective=OBJECTIVE[task], controls=controls))
    return folder


@pytest.fixture(scope="module")
def reports(studied, tmp_path_factory):
    out = tmp_path_factory.mktemp("reports")
    return {task: judge(studied, task, out / task) for task in TASKS}


def judge(folder, task, out, **changes):
    return evaluate(EvalConfig(**{"runs": (folder / task,), "out": out, "device": "cpu", "batch_size": 5} | changes))


def rows_to_judge(folder, feature):
    """Store rows of the test episode, in the order of frames."""
    rows = FeatureStore.open(folder / "store").index(feature).to_pylist()
    found = [number for number, row in enumerate(rows) if row["episode_index"] == 5]
    return sorted(found, key=lambda number: (rows[number]["frame_index"], rows[number]["camera"]))


def frame_by_frame(folder, task, name):
    """(camera, prediction, target) of every test frame, one at a time."""
    store, model = FeatureStore.open(folder / "store"), load_run(folder / task).contenders[name].model
    cameras = store.index("z")["camera"].to_pylist()
    for z, target in zip(rows_to_judge(folder, "z"), rows_to_judge(folder, TEACHER[task]), strict=True):
        with torch.inference_mode():
            found = model(store.read("z", [z]).float())[0].double().numpy()
        yield cameras[z], found, store.read(TEACHER[task], [target])[0].double().numpy()


def contender(report, name):
    return {c.name: c for c in report.runs[0].contenders}[name]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ["head", "linear_probe"])
def test_the_error_equals_a_loop_over_frames_read_one_by_one_pooled_and_by_camera(studied, reports, task, name):
    squares = {}
    for camera, found, target in frame_by_frame(studied, task, name):
        squares.setdefault(camera, []).append(((found - target) ** 2).mean())
    judged = contender(reports[task], name)
    everything = [value for values in squares.values() for value in values]
    assert judged.scores.to_json()["mse"] == pytest.approx(np.mean(everything), rel=1e-4)
    by_camera = judged.groups["camera"]
    assert set(by_camera) == set(squares)
    for camera, values in squares.items():
        assert by_camera[camera].to_json()["mse"] == pytest.approx(np.mean(values), rel=1e-4)
        assert by_camera[camera].rows == len(values)


def test_r2_and_cosine_equal_loops(studied, reports):
    seen = list(frame_by_frame(studied, "distill", "head"))
    truth, found = (np.stack([frame[place] for frame in seen]) for place in (2, 1))
    channels = truth.reshape(-1, truth.shape[-1])
    spread = sum(((channels[:, c] - channels[:, c].mean()) ** 2).sum() for c in range(channels.shape[1]))
    cosines = [float(F.cosine_similarity(torch.tensor(p), torch.tensor(t), dim=1).mean()) for _, p, t in seen]
    numbers = contender(reports["distill"], "head").scores.to_json()
    assert numbers["r2"] == pytest.approx(1 - ((found - truth) ** 2).sum() / spread, abs=1e-4)
    assert numbers["cosine"] == pytest.approx(np.mean(cosines), abs=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_the_target_mean_is_judged_whether_or_not_the_run_trained_beside_it(studied, reports, task):
    store = FeatureStore.open(studied / "store")
    index = store.index(TEACHER[task]).to_pylist()
    splits = json.loads((studied / task / "run.json").read_text())["splits"]
    mean = (
        store.read(
            TEACHER[task], [n for n, row in enumerate(index) if row["episode_index"] in splits["train"]["episodes"]]
        )
        .double()
        .mean(dim=0)
    )
    test = store.read(TEACHER[task], rows_to_judge(studied, TEACHER[task])).double()
    assert [c.name for c in reports[task].runs[0].contenders] == ["head", "linear_probe", "target_mean"]
    found = contender(reports[task], "target_mean").scores.to_json()["mse"]
    assert found == pytest.approx(float(((test - mean) ** 2).mean()), rel=1e-4)


def test_frames_are_grouped_by_camera_and_episode_and_by_a_phase_that_somebody_knows(reports):
    groups = contender(reports["dense"], "head").groups
    assert list(groups) == ["camera", "episode"]  # the toy labels name no phase
    assert set(groups["episode"]) == {"000005"}


def test_a_control_that_was_not_trained_is_missed_by_name(reports):
    assert any(note.startswith("no instruction_blind: ") for note in reports["dense"].runs[0].notes)


@pytest.mark.parametrize("task", TASKS)
def test_the_files_say_what_the_report_says(studied, reports, task):
    out = reports[task].out
    data = json.loads((out / "metrics.json").read_text())["runs"][0]
    assert data["task"] == task
    assert data["contenders"]["head"]["scores"]["mse"] == contender(reports[task], "head").scores.to_json()["mse"]
    table = (out / "table.txt").read_text()
    assert table.startswith(f"{task}: MSE ")
    assert max(map(len, table.splitlines())) <= 100
    for block in (block.splitlines() for block in (out / "table.md").read_text().split("\n\n") if "|---|" in block):
        assert len({line.count("|") for line in block if line.startswith("|")}) == 1


def test_bf16_changes_the_numbers_a_little_and_the_controls_without_arithmetic_not_at_all(studied, reports, tmp_path):
    rounded = judge(studied, "distill", tmp_path, precision="bf16")
    exact, close = (contender(report, "head").scores.to_json()["mse"] for report in (reports["distill"], rounded))
    assert exact != close
    assert close == pytest.approx(exact, rel=0.05)


def test_a_damaged_checkpoint_of_any_task_is_an_error_that_names_the_file(studied, tmp_path):
    shutil.copytree(studied, tmp_path / "copy", symlinks=True)
    file = (tmp_path / "copy/dense/best").resolve() / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(WeightsError) as error:
        judge(tmp_path / "copy", "dense", tmp_path / "out")
    assert "model.safetensors" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_store_that_is_gone_is_an_error_and_nothing_is_written(studied, tmp_path):
    with pytest.raises(StoreError):
        judge(studied, "distill", tmp_path / "out", store=tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()
