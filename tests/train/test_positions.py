"""Fixed position codes."""

import math

import torch

from visual_thought.train.positions import grid_code, sinusoid


def test_a_code_is_sines_and_cosines_of_falling_frequency():
    code = sinusoid(torch.tensor([0.0, 3.0]), 5)
    for row, position in enumerate((0.0, 3.0)):
        for channel in range(5):
            angle = position * 10_000 ** (-2 * (channel // 2) / 5)
            expected = math.sin(angle) if channel % 2 == 0 else math.cos(angle)
            assert math.isclose(code[row, channel].item(), expected, abs_tol=1e-6)


def test_half_of_the_channels_say_the_row_and_half_the_column():
    code = grid_code(2, 3, 9)
    assert code.shape == (6, 9)
    for cell in range(6):
        row, column = divmod(cell, 3)
        assert torch.equal(code[cell, :4], sinusoid(torch.tensor([float(row)]), 4)[0])
        assert torch.equal(code[cell, 4:], sinusoid(torch.tensor([float(column)]), 5)[0])


def test_every_cell_has_a_code_of_its_own():
    code = grid_code(7, 7, 16)
    assert len({tuple(row) for row in code.tolist()}) == 49
