"""Feature distillation's objective, re-derived by loops."""

import math

import pytest
import torch

from visual_thought.pipeline.errors import ConfigError
from visual_thought.train.objectives.distill import (
    DistillObjectiveConfig,
    cosine_distance,
    distill_terms,
    smooth_l1,
    squared_error,
)
from visual_thought.train.objectives.terms import total


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return tuple(2 * torch.randn(3, 4, 5, generator=generator) for _ in range(2))


def rows(t: torch.Tensor, e: torch.Tensor):
    return zip(t.tolist(), e.tolist(), strict=True)


def test_the_squared_error_is_equation_22(pair):
    for row, (t, e) in enumerate(rows(*pair)):
        expected = sum((t[i][d] - e[i][d]) ** 2 for i in range(4) for d in range(5)) / 20
        assert float(squared_error(*pair)[row]) == pytest.approx(expected, rel=1e-5)


def test_the_cosine_distance_is_one_minus_the_mean_cosine_of_tokens(pair):
    for row, (t, e) in enumerate(rows(*pair)):
        cosines = []
        for i in range(4):
            dot = sum(a * b for a, b in zip(t[i], e[i], strict=True))
            cosines.append(dot / math.sqrt(sum(a * a for a in t[i]) * sum(b * b for b in e[i])))
        assert float(cosine_distance(*pair)[row]) == pytest.approx(1 - sum(cosines) / 4, rel=1e-5)


def test_the_smooth_l1_distance_is_quadratic_below_one(pair):
    for row, (t, e) in enumerate(rows(*pair)):
        away = [abs(t[i][d] - e[i][d]) for i in range(4) for d in range(5)]
        assert min(away) < 1 < max(away)
        expected = sum(x * x / 2 if x < 1 else x - 0.5 for x in away) / 20
        assert float(smooth_l1(*pair)[row]) == pytest.approx(expected, rel=1e-5)


def test_equal_tokens_cost_nothing_and_zeros_break_nothing(pair):
    t, nothing = pair[0], torch.zeros(3, 4, 5, requires_grad=True)
    for distance in (squared_error, cosine_distance, smooth_l1):
        assert torch.allclose(distance(t, t), torch.zeros(3), atol=1e-6)
        distance(nothing, t).sum().backward()
    assert torch.isfinite(nothing.grad).all()
    assert torch.allclose(cosine_distance(nothing, t), torch.ones(3))


def test_the_cosine_does_not_see_a_tokens_length_and_the_others_do(pair):
    t, e = pair
    assert torch.allclose(cosine_distance(3 * t, e), cosine_distance(t, e), atol=1e-6)
    assert not torch.allclose(squared_error(3 * t, e), squared_error(t, e))


def test_no_objective_depends_on_the_order_of_tokens(pair):
    order = torch.tensor([2, 0, 3, 1])
    for distance in (squared_error, cosine_distance, smooth_l1):
        assert torch.allclose(distance(pair[0][:, order], pair[1][:, order]), distance(*pair))


def test_terms_add_up_with_their_weights_and_those_without_weight_are_left_out(pair):
    config = DistillObjectiveConfig(mse_weight=0.0, cosine_weight=0.9, smooth_l1_weight=0.1)
    terms = distill_terms(*pair, config)
    assert set(terms) == {"cosine_distance", "smooth_l1"}
    expected = 0.9 * cosine_distance(*pair).mean() + 0.1 * smooth_l1(*pair).mean()
    assert torch.allclose(total(terms), expected)
    assert set(distill_terms(*pair, DistillObjectiveConfig())) == {"squared_error"}


@pytest.mark.parametrize("weights", [(0.0, 0.0, 0.0), (1.0, -0.5, 0.0)])
def test_weights_that_leave_nothing_to_learn_are_refused(weights):
    with pytest.raises(ConfigError, match="nothing to learn"):
        DistillObjectiveConfig("none", *weights)
