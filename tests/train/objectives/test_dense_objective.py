"""The dense objective, re-derived by loops."""

import pytest
import torch

from visual_thought.train.objectives.dense import dense_terms, map_errors
from visual_thought.train.objectives.terms import pooled, total


def test_the_loss_is_equation_32():
    predicted, y = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    a, b = predicted.tolist(), y.tolist()
    squares = [
        [[(a[n][c][i][j] - b[n][c][i][j]) ** 2 for i in range(4) for j in range(5)] for c in range(3)] for n in range(2)
    ]
    expected = sum(x for row in squares for channel in row for x in channel) / (2 * 3 * 4 * 5)
    assert float(total(dense_terms(predicted, y))) == pytest.approx(expected, rel=1e-5)
    by_channel = [[sum(channel) / 20 for channel in row] for row in squares]
    torch.testing.assert_close(map_errors(predicted, y), torch.tensor(by_channel))


def test_equal_maps_cost_nothing():
    y = torch.randn(2, 3, 4, 5)
    assert float(total(dense_terms(y, y))) == 0.0


def test_how_a_split_is_cut_into_batches_does_not_matter():
    predicted, y = torch.randn(5, 1, 2, 2), torch.randn(5, 1, 2, 2)
    whole = pooled([dense_terms(predicted, y)])["loss"]
    parts = pooled([dense_terms(predicted[:2], y[:2]), dense_terms(predicted[2:], y[2:])])["loss"]
    assert parts == pytest.approx(whole, rel=1e-6)
