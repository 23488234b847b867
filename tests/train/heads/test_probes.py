"""The linear probes, re-derived by loops."""

import pytest
import torch

from visual_thought.pipeline.spec import TokenLayout
from visual_thought.train.heads.probe import ResampledProbe, TokenProbe

LAYOUT = TokenLayout(grid=(2, 3), prefix=1, text=2)


def line(place: int, size: int, cells: int) -> list[float]:
    """Weights of bilinear interpolation between cell centres, clipped at the ends."""
    at = min(max((place + 0.5) * cells / size - 0.5, 0.0), cells - 1.0)
    return [max(0.0, 1.0 - abs(at - cell)) for cell in range(cells)]


def test_a_resampled_probe_interpolates_one_linear_map_of_each_cell():
    probe, z = ResampledProbe(4, LAYOUT, 2, (5, 7)), torch.randn(2, 9, 4)
    found = probe(z).detach()
    weight, bias = probe.linear.weight.tolist(), probe.linear.bias.tolist()
    for row, column, channel in ((0, 0, 0), (2, 3, 1), (4, 6, 0), (1, 5, 1)):
        expected = 0.0
        for i, down in enumerate(line(row, 5, 2)):
            for j, across in enumerate(line(column, 7, 3)):
                token = z[1, 1 + i * 3 + j].tolist()
                value = sum(w * x for w, x in zip(weight[channel], token, strict=True)) + bias[channel]
                expected += down * across * value
        assert float(found[1, channel, row, column]) == pytest.approx(expected, abs=1e-5)


def test_on_the_tokens_own_grid_nothing_is_interpolated():
    probe, z = ResampledProbe(4, LAYOUT, 2, LAYOUT.grid), torch.randn(2, 9, 4)
    torch.testing.assert_close(probe(z).flatten(2).transpose(1, 2), probe.linear(z[:, 1:7]))


def test_a_token_probe_answers_patches_row_by_row_behind_the_prefix():
    probe, z = TokenProbe(4, LAYOUT, 3, TokenLayout(grid=(4, 5), prefix=2)), torch.randn(2, 9, 4)
    found = probe(z)
    assert found.shape == (2, 22, 3)
    torch.testing.assert_close(found[:, 2 + 1 * 5 + 4], probe.patches(z)[:, :, 1, 4])
    torch.testing.assert_close(found[:, :2].flatten(1), probe.prefix(z[:, 1:7].mean(dim=1)))


def test_pooled_and_text_tokens_are_not_read():
    probe, z = TokenProbe(4, LAYOUT, 3, TokenLayout(grid=(4, 5), prefix=1)), torch.randn(2, 9, 4)
    other = z.clone()
    other[:, [0, 7, 8]] += 5.0
    assert torch.equal(probe(other), probe(z))
    assert probe(z[:, :]).shape == (2, 21, 3)


def test_without_a_prefix_there_is_no_second_map():
    probe = TokenProbe(4, LAYOUT, 3, TokenLayout(grid=(4, 5)))
    assert sum(parameter.numel() for parameter in probe.parameters()) == 4 * 3 + 3
