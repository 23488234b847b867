"""Distillation and dense maps by themselves: full-size shapes, metrics, and what the controls read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from expert_toys import e_spec, expert_config, y_spec
from grounding_toys import z_spec

from visual_thought.pipeline.errors import ConfigError
from visual_thought.pipeline.spec import FeatureSpec, ImageSpec, TokenLayout
from visual_thought.train.config import build_config
from visual_thought.train.statistics import TargetStatistics
from visual_thought.train.tasks.dense import CHUNK_NUMBERS, DenseTask
from visual_thought.train.tasks.distill import DistillTask

NOWHERE = Path("nowhere")
Z = FeatureSpec("z", "query", (100, 1024), TokenLayout((7, 7), prefix=1, text=50), ImageSpec(224, 224), "bf16", {})
E = FeatureSpec("e", "frame", (850, 768), TokenLayout((25, 34)), ImageSpec(350, 476), "bf16", {})
MAPS = {"channels": [0, 1, 2]}
Y = FeatureSpec("y", "frame", (3, 768, 768), TokenLayout((768, 768)), ImageSpec(768, 768), "bf16", MAPS)


def full_size(task, recipe: str, specs: dict[str, FeatureSpec], *overrides: str):
    return task(build_config(recipe, overrides, store=NOWHERE, manifest="m", out=NOWHERE), specs)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("layers", "expected"), [(2, 28_340_224), (3, 37_790_464), (4, 47_240_704), (8, 85_041_664)])
def test_the_distillation_recipe_builds_the_models_of_table_1(layers, expected):
    task = full_size(DistillTask, "distill", {"z": Z, "e": E}, f"decoder.num_layers={layers}")
    with torch.device("meta"):
        model = task.contender("head").model
        assert count(model) == expected
        assert model(torch.empty(2, 100, 1024)).shape == (2, 850, 768)


@pytest.mark.parametrize("side", [16, 32])
@pytest.mark.parametrize(("layers", "at_16", "at_32"), [(1, 5_153_152, 5_251_456), (8, 7_003_392, 7_101_696)])
def test_the_dense_recipe_builds_the_models_of_table_2(side, layers, at_16, at_32):
    overrides = (f"decoder.num_layers={layers}", f"head.grid=[{side},{side}]")
    task = full_size(DenseTask, "dense", {"z": Z, "y": Y}, *overrides)
    with torch.device("meta"):
        model = task.contender("head").model
        assert count(model.reader.decoder) == {16: at_16, 32: at_32}[side]
        assert count(model.reader.head) == 312_067
        assert model(torch.empty(2, 100, 1024)).shape == (2, 3, 768, 768)


def test_a_validation_never_holds_many_maps_of_full_size():
    task = full_size(DenseTask, "dense", {"z": Z, "y": Y})
    parts = [range(64)[part] for part in task._chunks(64)]
    assert sum(map(len, parts)) == 64
    assert max(map(len, parts)) * 3 * 768 * 768 <= CHUNK_NUMBERS


def distill_task(**changes) -> DistillTask:
    config = expert_config("distill", NOWHERE, controls=["target_mean", "linear_probe", "instruction_blind"], **changes)
    return DistillTask(config, {"z": z_spec(), "e": e_spec()})


def dense_task(channels=(0, 1, 2), **changes) -> DenseTask:
    config = expert_config("dense", NOWHERE, controls=["target_mean", "linear_probe", "instruction_blind"], **changes)
    return DenseTask(config, {"z": z_spec(), "y": y_spec(channels)})


def batch(rows: int = 4, channels: int = 3) -> dict[str, torch.Tensor]:
    read = {name: torch.randn(rows, 12, 8) for name in ("z", "z_blind")}
    taught = {"e": torch.randn(rows, 25, 5), "y": torch.randn(rows, channels, 24, 24)}
    return read | taught | {"frame_size": torch.full((rows, 2), 96), "corners": torch.full((rows, 2, 2), torch.nan)}


@pytest.mark.parametrize("make", [distill_task, dense_task])
def test_only_the_blind_control_reads_another_query(make):
    task, given = make(), batch()
    for name in task.names:
        seen = task.contender(name).view(given)["z"]
        assert seen is given["z_blind" if name == "instruction_blind" else "z"]


@pytest.mark.parametrize("make", [distill_task, dense_task])
def test_every_contender_answers_and_all_but_the_mean_train(make):
    task, given = make(), batch()
    for name in task.names:
        contender = task.contender(name)
        assert contender.trains is (name != "target_mean")
        with torch.inference_mode():
            observed = task.observe(contender.model, contender.view(given))
        assert {len(values) for values in observed.arrays.values()} == {4}
        assert np.isfinite(task.metrics(observed.arrays)["mse"])


def test_distillation_metrics_are_those_of_all_rows_together():
    task, given = distill_task(), batch(6)
    model = task.contender("head").model.eval()
    with torch.inference_mode():
        halves = [task.observe(model, {name: value[part] for name, value in given.items()}).arrays
                  for part in (slice(0, 2), slice(2, 6))]  # fmt: skip
        found, e = model(given["z"]).double(), given["e"].double()
    metrics = task.metrics({name: np.concatenate([half[name] for half in halves]) for name in halves[0]})
    error = float(((found - e) ** 2).mean())
    assert metrics["mse"] == pytest.approx(error, rel=1e-5)
    assert metrics["r2"] == pytest.approx(1 - error / float(((e - e.mean(dim=(0, 1))) ** 2).mean()), rel=1e-5)
    cosine = torch.nn.functional.cosine_similarity(found, e, dim=2).mean()
    assert metrics["cosine"] == pytest.approx(float(cosine), rel=1e-5)


def test_targets_that_do_not_vary_have_no_explained_share():
    task = distill_task()
    arrays = {"squares": np.ones(2), "energy": np.zeros(2), "total": np.zeros((2, 5)), "cosine": np.zeros(2)}
    assert np.isnan(task.metrics(arrays)["r2"])


def test_metrics_are_in_the_experts_unit_whatever_the_objective_sees():
    known = TargetStatistics(torch.full((25, 5), 3.0).double(), torch.full((25, 5), 4.0).double())
    task, given = distill_task(objective={"normalise": "channel"}), batch()
    task._known = known
    model = task.contender("target_mean").model
    assert torch.allclose(model(given["z"]), torch.tensor(3.0))
    observed = task.observe(model, given)
    metrics = task.metrics(observed.arrays)
    assert metrics["mse"] == pytest.approx(float((given["e"] - 3.0).square().mean()), rel=1e-5)
    assert float(observed.terms["squared_error"].value) == pytest.approx(metrics["mse"] / 4.0, rel=1e-5)


def test_dense_metrics_are_by_channel_and_in_all_whatever_their_order():
    task, given = dense_task((2, 1, 5)), batch()
    model = task.contender("head").model.eval()
    with torch.inference_mode():
        metrics = task.metrics(task.observe(model, given).arrays)
        error = (model(given["z"]) - given["y"]).square().mean(dim=(0, 2, 3))
    assert set(metrics) == {"mse", "mse_radius", "mse_cos", "mse_unsupervised"}  # no sin, no corners
    assert [metrics[f"mse_{name}"] for name in ("radius", "cos", "unsupervised")] == pytest.approx(error.tolist())
    assert metrics["mse"] == pytest.approx(float(error.mean()))


def test_the_decoders_sizes_may_be_named_but_not_otherwise():
    decoder = {"dim": 5, "num_queries": 25, "num_layers": 1, "num_heads": 1}
    assert distill_task(decoder=decoder).config.decoder.num_queries == 25
    with pytest.raises(ConfigError, match="are not the task's") as error:
        distill_task(decoder=decoder | {"num_queries": 24})
    assert "expected: decoder.num_queries 25" in " ".join(str(error.value).split())


@pytest.mark.parametrize(("make", "grid", "dim"), [(distill_task, (4, 6), 0), (dense_task, (6, 6), 16)])
def test_the_queries_may_start_at_the_tasks_own_cells_and_at_no_others(make, grid, dim):
    decoder = {"dim": dim, "num_queries": 0, "num_layers": 1, "num_heads": 1, "query_positions": True}
    assert make(decoder=decoder).config.decoder.query_grid is None
    for asked in ([0, 0], list(grid)):
        assert make(decoder=decoder | {"query_grid": asked}).config.decoder.query_grid == grid
    with pytest.raises(ConfigError, match="are not the task's"):
        make(decoder=decoder | {"query_grid": [3, 3]})
