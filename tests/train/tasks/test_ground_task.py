"""The grounding task by itself: what it asks of a head, and what it makes of answers."""

import math

import numpy as np
import pytest
import torch
from grounding_toys import RECIPE, r_spec, z_spec
from torch import nn

from visual_thought.pipeline.config import build
from visual_thought.train.config import TrainConfig
from visual_thought.train.decoder import VisualThoughtDecoder
from visual_thought.train.heads.ground import spatial_tokens
from visual_thought.train.heads.scores import unrefined
from visual_thought.train.objectives.terms import total
from visual_thought.train.tasks.ground import GroundTask
from visual_thought.train.tasks.grounders import DecodedGrounder


def make_task(**changes) -> GroundTask:
    places = {"store": "s", "manifest": "m", "out": "o"}
    config = build(TrainConfig, RECIPE | places | changes, source="a test")
    return GroundTask(config, {"z": z_spec(), "r": r_spec()})


def make_batch(size: int = 6) -> dict[str, torch.Tensor]:
    cell = torch.arange(size) % 9 - 1
    cells = torch.zeros(size, 9, dtype=torch.bool)
    cells[cell >= 0, cell[cell >= 0]] = True
    batch = {"z": torch.randn(size, 12, 8), "r": torch.randn(size, 6, 6, 8), "z_blind": torch.randn(size, 12, 8)}
    return batch | {"cells": cells, "point_cell": cell, "point_sub_cell": torch.arange(size) % 4}


class BilinearHead(nn.Module):
    """A head of one's own: a_j = tau^T W z_j."""

    refines, num_candidates = False, 1

    def __init__(self, shapes, config):
        super().__init__()
        self.layout, self.mix = shapes.layout, nn.Linear(shapes.d_vlm, shapes.dim, bias=False)

    def coarse(self, tau, z):
        return torch.einsum("bd,bjd->bj", tau, self.mix(spatial_tokens(z, self.layout)))

    def refine(self, tau, coarse, fine, candidates):
        return unrefined(coarse, candidates)


def test_a_head_of_ones_own_trains_and_is_judged_like_the_papers():
    task, batch = make_task(), make_batch()
    decoder = VisualThoughtDecoder(8, 16, 1, 1, num_heads=2)
    model = DecodedGrounder(decoder, BilinearHead(task.shapes, task.head))
    total(task.terms(model, batch, step=0)).backward()
    assert all(parameter.grad is not None for parameter in model.head.parameters())
    assert set(task.observe(model, batch).terms) == {"coarse"}


@pytest.mark.parametrize("name", ["head", "instruction_blind", "linear_probe"])
def test_a_contender_answers_every_row(name):
    task, batch = make_task(), make_batch()
    contender = task.contender(name)
    contender.model.eval()
    seen = task.observe(contender.model, contender.view(batch)).arrays
    assert seen["coarse"].shape == (6, 9)
    assert {len(values) for values in seen.values()} == {6}
    assert np.isfinite(list(task.metrics(seen).values())[:3]).all()


def test_only_the_blind_control_reads_the_exchanged_tokens():
    task, batch = make_task(), make_batch()
    for name, read in (("head", "z"), ("instruction_blind", "z_blind"), ("linear_probe", "z")):
        assert task.contender(name).view(batch)["z"] is batch[read]


def test_predictions_never_see_the_true_cell():
    task, batch = make_task(), make_batch()
    model = task.contender("head").model.eval()
    told = task.observe(model, batch).arrays
    other = task.observe(model, batch | {"point_cell": batch["point_cell"].flip(0)}).arrays
    for name in ("coarse", "cell", "sub_cell"):
        assert np.array_equal(told[name], other[name])


def test_rates_over_no_rows_are_not_measured():
    cells = np.zeros((2, 9), dtype=bool)
    absent = np.full(2, -1)
    arrays = {"coarse": np.full((2, 9), -3.0), "cells": cells, "cell": np.zeros(2, int), "sub_cell": np.zeros(2, int)}
    metrics = make_task().metrics(arrays | {"point_cell": absent, "point_sub_cell": absent})
    assert math.isnan(metrics["cell_hit_rate"])
    assert metrics["false_alarm_rate"] == 0.0
    assert metrics["f_0_25"] == 0.0


def test_the_recorded_config_holds_every_default():
    assert make_task(objective={"hard_negatives": 3}).config.objective["p_positive"] == 0.60
