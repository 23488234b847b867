"""The dense head."""

import math

import pytest
import torch

from visual_thought.pipeline.errors import ConfigError
from visual_thought.train.heads.dense import DenseHead, DenseHeadConfig, upsample


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


def test_the_refinement_is_two_padded_convolutions_with_gelu_and_one_of_single_cells():
    head, tokens = DenseHead(2, 1, (2, 3)), torch.randn(1, 6, 2)
    cells = head.project(tokens)[0].tolist()  # row by row
    grid = [[cells[3 * i + j] for j in range(3)] for i in range(2)]
    for layer in (head.refine[0], head.refine[2]):
        grid = [[[gelu(x) for x in convolved(layer, grid, i, j)] for j in range(3)] for i in range(2)]
    expected = [[convolved(head.refine[4], grid, i, j)[0] for j in range(3)] for i in range(2)]
    torch.testing.assert_close(head.on_grid(tokens)[0, 0], torch.tensor(expected))


def gelu(x: float) -> float:
    return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


def convolved(layer: torch.nn.Conv2d, grid: list[list[list[float]]], row: int, column: int) -> list[float]:
    """One place of a cross-correlation, zeros outside."""
    weight, reach, out = layer.weight.tolist(), layer.kernel_size[0] // 2, layer.bias.tolist()
    for channel, kernels in enumerate(weight):
        for source, kernel in enumerate(kernels):
            for i in range(-reach, reach + 1):
                for j in range(-reach, reach + 1):
                    if 0 <= row + i < len(grid) and 0 <= column + j < len(grid[0]):
                        out[channel] += kernel[i + reach][j + reach] * grid[row + i][column + j][source]
    return out


def test_maps_that_have_the_size_already_are_not_touched():
    maps = torch.randn(1, 2, 3, 4)
    assert upsample(maps, (3, 4)) is maps


@pytest.mark.parametrize("grid", [(0, 4), (4, -1)])
def test_a_grid_without_cells_is_refused(grid):
    with pytest.raises(ConfigError, match=r"head\.grid"):
        DenseHeadConfig(grid)
