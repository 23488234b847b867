"""Statistics of targets, re-derived by loops."""

import numpy as np
import pytest
import torch
from expert_toys import e_spec

from visual_thought.train.statistics import MeanTable, TargetScale, TargetStatistics, measure


class Rows:
    """Rows in memory, as float32."""

    channel_scale = None

    def __init__(self, values: torch.Tensor) -> None:
        self.spec, self.values = e_spec("fp32"), values.numpy()

    def fill(self, rows, out):
        out[:] = self.values[rows]


@pytest.fixture
def values():
    generator = torch.Generator().manual_seed(0)
    found = torch.randn(150, 25, 5, generator=generator) * torch.tensor([1.0, 5.0, 0.1, 1.0, 0.0]) + 1000.0
    return found + torch.arange(25.0)[:, None]


def test_means_and_variances_are_those_of_the_rows_asked_for(values):
    rows = np.arange(0, 150, 2)
    found = measure(Rows(values), rows)
    for token, channel in ((0, 0), (13, 1), (24, 4)):
        column = [float(values[row, token, channel]) for row in rows]
        mean = sum(column) / len(column)
        assert float(found.mean[token, channel]) == pytest.approx(mean, rel=1e-9)
        variance = sum((x - mean) ** 2 for x in column) / len(column)
        assert float(found.variance[token, channel]) == pytest.approx(variance, abs=1e-5)


def test_statistics_by_channel_are_those_of_all_positions_together(values):
    mean, variance = measure(Rows(values), np.arange(150)).per_channel(1)
    assert mean.shape == variance.shape == (1, 5)
    for channel in range(5):
        flat = values[:, :, channel].double().flatten()
        assert float(mean[0, channel]) == pytest.approx(float(flat.mean()), rel=1e-9)
        assert float(variance[0, channel]) == pytest.approx(float(flat.var(correction=0)), rel=1e-4)


@pytest.mark.parametrize("per", ["channel", "position"])
def test_scaled_targets_have_mean_0_and_variance_1_and_come_back(values, per):
    scale = TargetScale(e_spec(), per, channels=1, known=measure(Rows(values), np.arange(150)))
    scaled = scale(values)
    over = (0, 1) if per == "channel" else 0
    torch.testing.assert_close(scaled.mean(dim=over), torch.zeros_like(scaled.mean(dim=over)), atol=2e-3, rtol=0)
    varying = scaled[:, :, :4]
    spread = varying.var(dim=over, correction=0)
    torch.testing.assert_close(spread, torch.ones_like(spread), atol=2e-2, rtol=0)
    torch.testing.assert_close(scale.restore(scaled), values)


def test_what_never_varies_is_only_shifted():
    known = TargetStatistics(torch.full((25, 5), 2.0).double(), torch.zeros(25, 5).double())
    scale = TargetScale(e_spec(), "position", channels=1, known=known)
    assert torch.equal(scale(torch.full((1, 25, 5), 5.0)), torch.full((1, 25, 5), 3.0))


def test_without_normalisation_nothing_changes_and_nothing_is_kept(values):
    scale = TargetScale(e_spec(), "none", channels=1, known=None)
    assert scale(values) is values
    assert scale.restore(values) is values
    assert not scale.state_dict()


def test_a_scale_without_statistics_has_the_tensors_that_loading_fills(values):
    known = measure(Rows(values), np.arange(150))
    filled, empty = (TargetScale(e_spec(), "channel", channels=1, known=one) for one in (known, None))
    empty.load_state_dict(filled.state_dict())
    assert torch.equal(empty(values), filled(values))


def test_the_mean_table_answers_the_mean_to_everything_and_has_nothing_to_train(values):
    known = measure(Rows(values), np.arange(150))
    scale = TargetScale(e_spec(), "channel", channels=1, known=known)
    table = MeanTable(e_spec(), known, scale)
    assert not list(table.parameters())
    torch.testing.assert_close(scale.restore(table(torch.randn(3, 12, 8)))[1], known.mean.float())
