"""The dense head."""

import pytest
import torch

from visual_thought.pipeline.errors import ConfigError
from visual_thought.train.heads.dense import DenseHead, upsample


@pytest.mark.parametrize("grid", [(16, 16), (32, 32)])
def test_the_head_has_the_parameters_of_table_2(grid):
    with torch.device("meta"):
        head = DenseHead(128, 3, grid)
    assert sum(parameter.numel() for parameter in head.parameters()) == 312_067


def test_tokens_are_laid_on_the_grid_row_by_row():
    head = DenseHead(4, 2, (2, 3))
    head.project.weight.data.copy_(torch.eye(4))
    head.project.bias.data.zero_()
    head.refine = torch.nn.Identity()
    tokens = torch.arange(24.0).view(1, 6, 4)
    maps = head.on_grid(tokens)
    for token in range(6):
        assert torch.equal(maps[0, :, token // 3, token % 3], tokens[0, token])


def test_maps_come_out_in_the_size_asked_for():
    assert DenseHead(8, 3, (2, 4))(torch.randn(2, 8, 8), (10, 14)).shape == (2, 3, 10, 14)


def test_tokens_that_do_not_fill_the_grid_are_refused():
    with pytest.raises(ConfigError, match="does not hold"):
        DenseHead(8, 3, (2, 4))(torch.randn(1, 7, 8), (4, 4))


def test_upsampling_is_bilinear_between_pixel_centres():
    row = torch.tensor([0.0, 4.0])
    expected = []
    for x in range(4):  # centre x + 0.5 of 4 pixels lies at (x + 0.5) / 2 - 0.5 between the two, clipped to them
        place = min(max((x + 0.5) / 2 - 0.5, 0.0), 1.0)
        expected.append((1 - place) * 0.0 + place * 4.0)
    assert upsample(row.view(1, 1, 1, 2), (1, 4))[0, 0, 0].tolist() == expected


def test_a_constant_map_stays_constant():
    assert torch.allclose(upsample(torch.full((1, 1, 3, 3), 2.5), (7, 5)), torch.tensor(2.5))
