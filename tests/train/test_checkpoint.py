"""Checkpoints: whole or not at all, and no pickle anywhere."""

import json

import pytest
import torch

from visual_thought.pipeline.errors import WeightsError
from visual_thought.train.best import Best
from visual_thought.train.bounds import fault
from visual_thought.train.checkpoint import (
    Checkpoint,
    checkpoints,
    load_model,
    newest_valid,
    prune,
    restore,
    write_checkpoint,
)
from visual_thought.train.config import OptimizerConfig
from visual_thought.train.optimizer import make_optimizer


def trained(seed: int = 0) -> tuple[dict, dict]:
    torch.manual_seed(seed)
    models = {"head": torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LayerNorm(3)), "probe": torch.nn.Linear(3, 1)}
    optimizers = {name: make_optimizer(model, OptimizerConfig(lr=0.1)) for name, model in models.items()}
    for name, model in models.items():
        model(torch.randn(4, 3)).square().sum().backward()
        optimizers[name].step()
    return models, optimizers


def save(run_dir, step, best_step=None, seed=0):
    models, optimizers = trained(seed)
    best = {"head": Best(best_step or step, 0.5, 1.25, 3)}
    return write_checkpoint(run_dir, step, models=models, optimizers=optimizers, best=best, config={"a": 1})


def test_weights_moments_and_best_values_come_back(tmp_path):
    path = save(tmp_path, 7)
    models, optimizers = trained(seed=1)
    expected, expected_optimizers = trained(seed=0)
    assert restore(path, models, optimizers) == {"head": Best(7, 0.5, 1.25, 3)}
    for name, model in models.items():
        pairs = zip(model.parameters(), expected[name].parameters(), strict=True)
        for parameter, original in pairs:
            assert torch.equal(parameter, original)
            state, was = optimizers[name].state[parameter], expected_optimizers[name].state[original]
            assert state.keys() == was.keys()
            assert all(torch.equal(state[key], was[key]) for key in was)


def test_a_checkpoint_that_knows_only_step_and_value_of_the_best_still_comes_back(tmp_path):
    path = save(tmp_path, 7)
    state = path / "training_state" / "state.json"
    state.write_text(json.dumps({"step": 7, "best": {"head": {"step": 7, "value": 0.5}}}))
    found = restore(path, *trained(seed=1))
    assert found == {"head": Best(7, 0.5)}
    assert found["head"].since == 7


def test_an_average_is_the_model_and_the_weights_that_take_the_steps_come_back_too(tmp_path):
    models, optimizers = trained()
    averages = {"head": trained(seed=3)[0]["head"]}
    options = {"models": models, "optimizers": optimizers, "best": {}, "config": {}, "averages": averages}
    path = write_checkpoint(tmp_path, 7, **options)
    (others, their_optimizers), (averaged, _) = trained(seed=1), trained(seed=2)
    restore(path, others, their_optimizers, {"head": averaged["head"]})
    for found, expected in ((others["head"], models["head"]), (averaged["head"], averages["head"])):
        pairs = zip(found.parameters(), expected.parameters(), strict=True)
        assert all(torch.equal(*pair) for pair in pairs)


def test_a_model_without_anything_to_train_is_saved_as_well(tmp_path):
    models, optimizers = trained()
    models["mean"] = torch.nn.BatchNorm1d(2, affine=False)
    write_checkpoint(tmp_path, 7, models=models, optimizers=optimizers, best={}, config={})
    assert fault(tmp_path / "last") is None
    load_model(tmp_path / "last", "mean", torch.nn.BatchNorm1d(2, affine=False))


def test_a_checkpoint_is_safetensors_and_json_only(tmp_path):
    path = save(tmp_path, 7)
    suffixes = {file.suffix for file in path.rglob("*") if file.is_file()}
    assert suffixes == {".safetensors", ".json"}
    assert (path / "controls" / "probe.safetensors").exists()
    assert json.loads((path / "config.json").read_text()) == {"a": 1}


def test_links_name_the_last_and_the_best(tmp_path):
    save(tmp_path, 5)
    save(tmp_path, 10, best_step=5)
    assert (tmp_path / "last").resolve().name == "000010"
    assert (tmp_path / "best").resolve().name == "000005"
    assert not (tmp_path / "last").readlink().is_absolute()


def test_only_linked_newest_and_wanted_checkpoints_stay(tmp_path):
    save(tmp_path, 5)
    for step in (10, 15, 20, 25, 30):
        save(tmp_path, step, best_step=5)
    (tmp_path / "checkpoints" / ".000031.torn").mkdir()
    prune(tmp_path, 2, lambda step: step == 15)
    assert [path.name for path in checkpoints(tmp_path)] == ["000030", "000025", "000015", "000005"]
    assert not list((tmp_path / "checkpoints").glob(".*"))


@pytest.mark.parametrize("name", ["model.safetensors", "training_state/state.json", "controls/probe.safetensors"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_any_damage_is_found_and_the_newest_whole_checkpoint_is_named(tmp_path, name, damage):
    save(tmp_path, 5)
    file = save(tmp_path, 10) / name
    data = bytearray(file.read_bytes())
    if damage == "remove":
        file.unlink()
    else:
        data[len(data) // 2] ^= 4
        file.write_bytes(data[:-1] if damage == "truncate" else data)
    path, problems = newest_valid(tmp_path)
    assert path == tmp_path / "checkpoints" / "000005"
    assert len(problems) == 1
    assert "000010 is damaged" in problems[0]


def test_a_checkpoint_without_its_list_of_files_is_no_checkpoint(tmp_path):
    path = save(tmp_path, 5)
    (path / "files.json").unlink()
    assert fault(path) is not None
    assert newest_valid(tmp_path)[0] is None


def test_a_step_may_be_written_again(tmp_path):
    first = (save(tmp_path, 5) / "model.safetensors").read_bytes()
    second = (save(tmp_path, 5, seed=2) / "model.safetensors").read_bytes()
    assert first != second
    assert fault(tmp_path / "checkpoints" / "000005") is None


def test_weights_of_another_shape_are_refused(tmp_path):
    path = save(tmp_path, 5)
    with pytest.raises(WeightsError, match="another model"):
        load_model(path, "probe", torch.nn.Linear(4, 1))


@pytest.mark.parametrize(
    ("best_by", "validated", "told"),
    [
        (
            "f_0_25",
            {"step": 8, "loss": 1.25, "coarse": 2.0, "f_0_25": 0.5, "precision": 0.75, "recall": 1.0, "tp": 3.0},
            "loss 1.250  f_0_25 0.500  precision 0.750  recall 1.000",
        ),
        (
            "mse",
            {"step": 8, "loss": 0.25, "feature": 0.25, "mse": 0.00042, "r2": -0.5, "cosine": 0.0},
            "loss 0.250  mse 4.20e-04  r2 -0.500  cosine 0.000",
        ),
        (
            "mse",
            {"step": 8, "loss": 0.5, "mse": 0.5, "mse_sin": 0.5, "corner_precision": None, "corner_f1": None},
            "loss 0.500  mse 0.500",
        ),
        ("iou", {"step": 8, "iou": 0.875, "mystery": 1.0, "loss": 0.5}, "iou 0.875  loss 0.500"),
    ],
)
def test_a_finished_run_tells_what_chose_the_best_and_what_goes_with_it_in_the_order_of_the_validation(
    tmp_path, best_by, validated, told
):
    done = Checkpoint(tmp_path, tmp_path, 8, {"head": validated, "target_mean": validated}, best_by)
    head, mean = done.render().splitlines()[1:3]
    assert head.split(maxsplit=1) == ["head", told]
    assert mean.split(maxsplit=1) == ["target_mean", told]
