"""The equations of fidelity, by loops and where they have nothing to divide by."""

import math

import numpy as np
import pytest

from visual_thought.pipeline.store.distortion import Distortion, cosines, token_errors


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 5))
    return x, x + 0.1 * rng.standard_normal((6, 5))


def test_loops_give_the_same_numbers(pair):
    x, y = pair
    for row, (a, b) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
        inner = sum(p * q for p, q in zip(a, b, strict=True))
        size_a, size_b = math.sqrt(sum(p * p for p in a)), math.sqrt(sum(q * q for q in b))
        moved = math.sqrt(sum((q - p) ** 2 for p, q in zip(a, b, strict=True)))
        assert cosines(x, y)[row] == pytest.approx(inner / size_a / size_b)
        assert token_errors(x, y)[row] == pytest.approx(moved / size_a)


def test_blocks_add_up_to_the_whole(pair):
    x, y = (values.astype(np.float32) for values in pair)
    whole, blocks = Distortion(), Distortion()
    whole.add(x, y)
    for row in range(6):
        blocks.add(x[row : row + 1], y[row : row + 1])
    assert blocks.tokens == whole.tokens == 6
    assert blocks.cosine_mean == pytest.approx(whole.cosine_mean)
    assert blocks.relative_error == pytest.approx(whole.relative_error)
    assert (blocks.cosine_worst, blocks.token_error_worst) == (whole.cosine_worst, whole.token_error_worst)
    expected = np.linalg.norm((y - x).astype(float)) / np.linalg.norm(x.astype(float))
    assert whole.relative_error == pytest.approx(expected, rel=1e-5)
    assert whole.token_error_worst == pytest.approx(token_errors(x.astype(float), y.astype(float)).max())


def test_tokens_of_zeros_agree_with_zeros_and_with_nothing_else():
    zero, one = np.zeros((1, 3)), np.ones((1, 3))
    assert (cosines(zero, zero), token_errors(zero, zero)) == (1, 0)
    assert (cosines(zero, one), token_errors(zero, one)) == (0, math.inf)
    assert (cosines(one, zero), token_errors(one, zero)) == (0, 1)
    moved = Distortion()
    moved.add(zero.astype(np.float32), one.astype(np.float32))
    assert moved.relative_error == math.inf


def test_size_does_not_matter(pair):
    x, y = pair
    np.testing.assert_allclose(cosines(8 * x, 8 * y), cosines(x, y))
    np.testing.assert_allclose(token_errors(8 * x, 8 * y), token_errors(x, y))
