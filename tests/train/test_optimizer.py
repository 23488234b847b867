"""Decay groups and the learning rate."""

import math

import pytest
import torch

from visual_thought.train.config import OptimizerConfig, SchedulerConfig
from visual_thought.train.decoder import VisualThoughtDecoder
from visual_thought.train.optimizer import make_optimizer, rate_factor, set_rate


def test_norms_biases_and_queries_do_not_decay():
    decoder = VisualThoughtDecoder(4, 8, 3, 1, num_heads=2, query_positions=True, ffn_gate=True)
    optimizer = make_optimizer(decoder, OptimizerConfig(lr=1.0, weight_decay=0.1))
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    for name, parameter in decoder.named_parameters():
        kept = name.endswith("bias") or "norm" in name or name in ("queries", "query_positions") or "gate" in name
        assert (id(parameter) in decayed) != kept, name
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(decoder.parameters()))


def test_the_rate_warms_up_linearly_and_then_stays():
    config = SchedulerConfig("constant", warmup_steps=4)
    assert [rate_factor(step, 10, config) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_the_cosine_falls_from_the_peak_to_its_final_share(final):
    config = SchedulerConfig("cosine", warmup_steps=2, final_ratio=final)
    assert rate_factor(2, 10, config) == 1.0
    assert math.isclose(rate_factor(6, 10, config), (1 + final) / 2)
    assert math.isclose(rate_factor(10, 10, config), final)


def test_a_rate_reaches_every_group():
    optimizer = make_optimizer(torch.nn.Linear(2, 2), OptimizerConfig(lr=1.0))
    set_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
