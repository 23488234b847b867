"""Distillation and dense maps end to end on a small real store: trained, resumed, loaded."""

import json
from pathlib import Path

import pytest
import torch
from expert_toys import e_spec, expert_config, y_spec
from test_train_run import stop_at, validations, weights

from visual_thought.pipeline.errors import ConfigError, Interrupted
from visual_thought.pipeline.manifest import load_manifest
from visual_thought.pipeline.store import FeatureStore
from visual_thought.train.journal import read_journal
from visual_thought.train.loaded import load_run
from visual_thought.train.run import train

TASKS = ("distill", "dense")
OBJECTIVES = {"distill": {"normalise": "channel", "cosine_weight": 0.5, "smooth_l1_weight": 0.5}, "dense": {}}


@pytest.fixture(scope="module")
def finished(experts, tmp_path_factory):
    """One uninterrupted run of every task."""
    folder = tmp_path_factory.mktemp("expert-runs")
    return {task: train(expert_config(task, experts, str(folder / task), objective=OBJECTIVES[task])) for task in TASKS}


def rows_of(folder: Path, feature: str, episode: int) -> list[int]:
    index = FeatureStore.open(folder / "store").index(feature)
    return [number for number, row in enumerate(index.to_pylist()) if row["episode_index"] == episode]


@pytest.mark.parametrize("task", TASKS)
def test_the_mean_of_the_training_targets_is_judged_beside_what_trains(finished, experts, task):
    name = {"distill": "e", "dense": "y"}[task]
    store, done = FeatureStore.open(experts / "store"), finished[task]
    rows = [
        row for episode in load_manifest(experts / "toys.yaml").splits.train for row in rows_of(experts, name, episode)
    ]
    mean = store.read(name, rows).double().mean(dim=0)
    held_out = store.read(name, rows_of(experts, name, 4)).double()
    expected = float(((held_out - mean) ** 2).mean())
    lines = [
        line for line in validations(done.run_dir) if line["contender"] == "target_mean" and line["split"] == "val"
    ]
    assert [line["step"] for line in lines] == [5, 10]
    assert all(line["mse"] == pytest.approx(expected, rel=1e-4) for line in lines)
    trained = {line["contender"] for line in read_journal(done.run_dir) if line["kind"] == "train"}
    assert trained == {"head", "linear_probe"}


@pytest.mark.parametrize("task", TASKS)
def test_a_stopped_run_resumes_to_the_same_bits(finished, experts, tmp_path, task):
    options = {"objective": OBJECTIVES[task], "steps": 10, "log_freq": 1}
    config = expert_config(task, experts, str(tmp_path / "run"), **options)
    watcher = stop_at(config.out, 3)
    with pytest.raises(Interrupted):
        train(config)
    watcher.join()
    resumed = train(expert_config(task, experts, str(config.out), **options, resume=True))
    assert weights(resumed.run_dir) == weights(finished[task].run_dir)
    assert resumed.metrics == finished[task].metrics


@pytest.mark.parametrize("task", TASKS)
def test_a_loaded_run_predicts_as_it_did_in_training(finished, experts, task):
    name, done = {"distill": "e", "dense": "y"}[task], finished[task]
    store, run = FeatureStore.open(experts / "store"), load_run(done.run_dir)
    z, true = (store.read(feature, rows_of(experts, feature, 4)).float() for feature in ("z", name))
    assert set(run.contenders) == {"head", "target_mean", "linear_probe"}
    for contender, loaded in run.contenders.items():
        with torch.inference_mode():
            found = loaded.model(z)
        assert found.shape == true.shape
        assert float(((found - true) ** 2).mean()) == pytest.approx(done.metrics[contender]["mse"], rel=1e-4)


def test_distillation_learns_what_the_mean_does_not_know(experts, tmp_path):
    objective = {"normalise": "position"}
    config = expert_config("distill", experts, str(tmp_path / "run"), steps=80, eval_freq=80, objective=objective)
    done = train(config)
    head, mean = (done.metrics[name] for name in ("head", "target_mean"))
    assert head["mse"] < 0.6 * mean["mse"]
    assert head["r2"] > mean["r2"]
    assert done.step == head["step"] == 80


@pytest.mark.parametrize(("task", "told"), [("distill", ("mse", "r2", "cosine")), ("dense", ("mse", "corner_f1"))])
def test_a_finished_run_tells_the_metrics_of_its_task(finished, task, told):
    lines = {line.split()[0]: line.split()[1:] for line in finished[task].render().splitlines()[1:-1]}
    assert lines.keys() == finished[task].metrics.keys()
    for contender, words in lines.items():
        known = [name for name in told if finished[task].metrics[contender][name] is not None]
        assert [name for name in words[::2] if name in told] == known
        assert words[0] == "loss"
        assert "mse" in known


def test_dense_maps_lead_to_the_corners(finished, experts):
    head, mean = (finished["dense"].metrics[name] for name in ("head", "target_mean"))
    assert head["teacher_true_corner_f1"] == mean["teacher_true_corner_f1"] > 0.9
    assert set(head) >= {"mse_sin", "mse_cos", "mse_radius", "corner_precision", "true_corner_recall"}
    channels = [head[f"mse_{name}"] for name in ("sin", "cos", "radius")]
    assert head["mse"] == pytest.approx(sum(channels) / 3)
    assert "corner_angle_deg" not in head


def test_nobody_asks_for_corners_in_maps_without_directions(experts, tmp_path):
    config = expert_config("dense", experts, str(tmp_path / "run"), steps=1, objective={"corner_px": 0})
    assert not any("corner" in name for name in train(config).metrics["head"])


@pytest.mark.parametrize(
    ("task", "changes", "said"),
    [
        ("distill", {"decoder": {"dim": 8, "num_queries": 25, "num_layers": 1}}, "decoder.dim 5"),
        ("distill", {"head": {"name": "ground"}}, "the task has no `head`"),
        ("distill", {"controls": ["target_men"]}, "did you mean target_mean"),
        ("distill", {"objective": {"mse_weight": 0.0}}, "nothing to learn"),
        ("distill", {"controls": ["instruction_blind"]}, "frames with several instructions"),
        ("distill", {"features": {"z": "z", "e": "y"}}, "cannot serve as `e`"),
        ("dense", {"features": {"z": "z"}}, "needs the feature `y`"),
        ("dense", {"features": {"z": "z", "y": "y", "e": "e"}}, "reads no such feature"),
        ("dense", {"decoder": {"dim": 0, "num_queries": 0, "num_layers": 1}}, "decoder.dim is too small"),
        ("dense", {"head": {"grid": [0, 4]}}, "head.grid is too small"),
        ("dense", {"objective": {"corner_px": -1}}, "is a distance"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused_before_anything_is_written(experts, tmp_path, task, changes, said):
    with pytest.raises(ConfigError) as error:
        train(expert_config(task, experts, str(tmp_path / "run"), **changes))
    assert said in str(error.value)
    assert not (tmp_path / "run").exists()


def test_the_records_name_the_teachers_fingerprints(finished):
    for task, spec in (("distill", e_spec()), ("dense", y_spec())):
        record = json.loads((finished[task].run_dir / "run.json").read_text())
        assert record["fingerprints"][spec.name] == spec.fingerprint
        assert record["config"]["decoder"]["num_queries"] == {"distill": 25, "dense": 36}[task]
