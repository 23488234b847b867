import numpy as np
import pytest

from visual_thought.pipeline.datasets.masks import (
    contains,
    decode_rle,
    encode_rle,
    innermost_pixel,
    occupied_columns,
    parse_runs,
    squared_distances,
)
from visual_thought.pipeline.errors import ManifestError


def random_masks(count: int = 40):
    rng = np.random.default_rng(0)
    for _ in range(count):
        height, width = rng.integers(1, 24, 2)
        yield rng.random((height, width)) < rng.choice([0.1, 0.5, 0.9, 1.0])


def test_runs_go_down_the_columns_and_begin_with_zeros():
    assert encode_rle(np.array([[False, True], [True, True]])) == "1 3"
    assert encode_rle(np.array([[True, False], [False, False]])) == "0 1 3"
    assert encode_rle(np.zeros((2, 3), bool)) == "6"
    assert encode_rle(np.ones((2, 3), bool)) == "0 6"


def test_masks_survive_their_runs():
    for mask in random_masks():
        np.testing.assert_array_equal(decode_rle(encode_rle(mask), *mask.shape), mask)


@pytest.mark.parametrize(
    "runs", ["", "5", "1 x", "1 2.5 2", "-1 7", "1 0 5", "1 5 0", "1 6", "9223372036854775807 1", "1  5"]
)
def test_runs_that_do_not_fill_the_image_are_refused(runs):
    with pytest.raises(ManifestError, match="runs"):
        parse_runs(runs, 6)


def test_a_point_is_in_the_region_as_in_the_mask():
    for mask in random_masks(10):
        runs = parse_runs(encode_rle(mask), mask.size)
        for row, column in np.ndindex(*mask.shape):
            for inside in (0.0, 0.5, 0.99):
                assert contains(runs, *mask.shape, (column + inside, row + inside)) == mask[row, column]
        height, width = mask.shape
        for point in ((-0.1, 0.0), (0.0, -0.1), (float(width), 0.0), (0.0, float(height))):
            assert not contains(runs, height, width, point)


def test_the_occupied_columns_are_those_of_the_mask():
    for mask in random_masks():
        if not mask.any():
            continue
        first, region = occupied_columns(parse_runs(encode_rle(mask), mask.size), len(mask))
        touched = np.flatnonzero(mask.any(axis=0))
        assert first == touched[0]
        np.testing.assert_array_equal(region, mask[:, touched[0] : touched[-1] + 1].T)


def test_squared_distances_equal_a_loop():
    for mask in random_masks(15):
        region = np.pad(mask, 1)
        outside = np.argwhere(~region)
        for place, distance in np.ndenumerate(squared_distances(region)):
            assert distance == ((outside - place) ** 2).sum(axis=1).min()


def test_the_innermost_pixel_equals_a_loop_with_everything_beyond_the_image_outside():
    for mask in random_masks():
        if not mask.any():
            continue
        region = np.pad(mask, 1)
        outside = np.argwhere(~region)
        depth = {
            (row, column): ((outside - (row + 1, column + 1)) ** 2).sum(axis=1).min()
            for row, column in np.argwhere(mask)
        }
        row, column = max(depth, key=lambda place: (depth[place], -place[0], -place[1]))
        assert innermost_pixel(mask) == (column + 0.5, row + 0.5)


def test_the_innermost_pixel_of_a_ring_lies_on_the_ring():
    y, x = np.mgrid[:41, :41] - 20
    radius = np.hypot(x, y)
    ring = (radius < 18) & (radius > 10)
    column, row = innermost_pixel(ring)
    assert ring[int(row), int(column)]
    assert 12 < np.hypot(column - 20.5, row - 20.5) < 16


def test_a_region_that_fills_the_image_is_deepest_in_its_middle():
    assert innermost_pixel(np.ones((5, 9), bool)) == (2.5, 2.5)  # of columns 2 to 6, all equally deep, the first
    assert innermost_pixel(np.ones((1, 1), bool)) == (0.5, 0.5)


def test_the_innermost_pixel_moves_with_the_region():
    mask = np.zeros((40, 50), bool)
    mask[5:12, 8:20] = True
    mask[10:18, 8:12] = True
    x, y = innermost_pixel(mask)
    assert innermost_pixel(np.roll(mask, (7, 11), (0, 1))) == (x + 11, y + 7)


def test_an_empty_region_has_no_innermost_pixel():
    with pytest.raises(ManifestError, match="empty"):
        innermost_pixel(np.zeros((3, 3), bool))
