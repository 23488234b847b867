import time

import numpy as np
import pyarrow as pa
import pytest

from visual_thought.pipeline.datasets.labels import LABEL_SCHEMA, encode_rle, innermost_pixel
from visual_thought.pipeline.datasets.targets import (
    cell_targets,
    point_target,
    positive_cells,
    region_contains,
    targets_of,
)
from visual_thought.pipeline.errors import ConfigError, ManifestError
from visual_thought.pipeline.geometry import FrameGeometry
from visual_thought.pipeline.spec import ImageSpec

SQUASH, LETTERBOX = ImageSpec(224, 224), ImageSpec(224, 224, "letterbox")
GRID, FINE = (7, 7), (14, 14)


def label(number: int, mask=None, point=None, *, size=None, camera="main"):
    positive = mask is not None or point is not None
    height, width = mask.shape if mask is not None else size or (None, None)
    return {
        "episode_index": 0,
        "frame_index": number,
        "camera": camera,
        "instruction": "pick up the orange cube",
        "target": "orange cube" if positive else "",
        "positive": positive,
        "phase": "",
        "point_x": point[0] if point else None,
        "point_y": point[1] if point else None,
        "mask": None if mask is None else encode_rle(mask),
        "mask_height": height,
        "mask_width": width,
    }


def table(rows) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=LABEL_SCHEMA)


def box(top: int, bottom: int, left: int, right: int, size=(70, 70)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def blobs(count: int, size=(60, 80), seed: int = 0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    for _ in range(count):
        cx, cy, a, b = rng.uniform((0, 0, 2, 2), (size[1], size[0], 20, 20))
        mask = ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 < 1
        if mask.any():
            yield mask


def cells_by_loops(mask: np.ndarray, geometry: FrameGeometry, grid: tuple[int, int], fine: int = 8) -> np.ndarray:
    """The rule on a picture blown up to a multiple of the grid; exact where frame pixels divide cells evenly."""
    coverage, share = np.zeros(grid[0] * grid[1]), np.zeros(grid[0] * grid[1])
    for row, column in np.argwhere(mask):
        corners = np.array(
            [[column + (i + 0.5) / fine, row + (j + 0.5) / fine] for i in range(fine) for j in range(fine)]
        )
        for cell in geometry.cell_of(corners, grid):
            coverage[cell] += 1 / fine**2
    area = geometry.input_height * geometry.input_width / (grid[0] * grid[1] * geometry.scale_x * geometry.scale_y)
    share, coverage = coverage / mask.sum(), coverage / area
    best = int(np.argmax(share.round(9)))
    return np.array([coverage[c] >= 0.25 - 1e-9 or share[c] >= 0.15 - 1e-9 or c == best for c in range(len(share))])


def test_a_cell_that_is_covered_by_a_quarter_is_positive():
    geometry = FrameGeometry.of(SQUASH, 70, 70)  # cells of 10 x 10 pixels
    assert np.flatnonzero(cell_targets(box(0, 10, 0, 45), geometry, GRID)).tolist() == [0, 1, 2, 3, 4]
    exactly = box(0, 20, 0, 30)
    exactly[20:25, 0:5] = True  # 25 of cell 14's 100 pixels, 4% of the target
    assert cell_targets(exactly, geometry, GRID)[14]
    exactly[24, 4] = False
    assert not cell_targets(exactly, geometry, GRID)[14]


def test_a_cell_that_holds_15_percent_of_the_target_is_positive():
    geometry = FrameGeometry.of(SQUASH, 70, 70)
    target = box(0, 1, 0, 10)
    target[0, 8:10] = False
    target[0, 10:12] = True  # 8 pixels in cell 0, 2 of 10 in cell 1
    assert np.flatnonzero(cell_targets(target, geometry, GRID)).tolist() == [0, 1]
    target[1, 0:4] = True  # 2 of 14 in cell 1: below 15%
    assert np.flatnonzero(cell_targets(target, geometry, GRID)).tolist() == [0]


def test_the_cell_with_the_largest_share_is_always_positive_and_a_tie_goes_to_the_first():
    coverage = np.full((1, 12), 0.01)
    share = np.full((1, 12), 1 / 12)
    share[0, 1:] += 1e-12  # a rounding error is no larger share
    assert np.flatnonzero(positive_cells(coverage, share)[0]).tolist() == [0]


def test_an_empty_target_has_no_cell():
    geometry = FrameGeometry.of(SQUASH, 70, 70)
    assert not cell_targets(np.zeros((70, 70), bool), geometry, GRID).any()


@pytest.mark.parametrize("image", [SQUASH, LETTERBOX, ImageSpec(64, 96, "letterbox")])
@pytest.mark.parametrize("grid", [(4, 4), (2, 8)])
def test_cells_equal_a_loop_over_pixels(image, grid):
    geometry = FrameGeometry.of(image, 32, 32)
    for mask in blobs(6, (32, 32)):
        np.testing.assert_array_equal(cell_targets(mask, geometry, grid), cells_by_loops(mask, geometry, grid))


def test_with_only_a_point_its_cell_is_positive():
    geometry = FrameGeometry.of(SQUASH, 70, 70)
    assert np.flatnonzero(cell_targets((35.0, 12.0), geometry, GRID)).tolist() == [1 * 7 + 3]


def test_sub_cells_are_numbered_row_major_inside_their_cell():
    geometry = FrameGeometry.of(SQUASH, 70, 70)
    for u, (x, y) in enumerate([(31.0, 21.0), (36.0, 21.0), (31.0, 26.0), (36.0, 26.0)]):
        assert point_target((x, y), geometry, GRID, FINE) == (2 * 7 + 3, u)
    assert point_target((69.9, 69.9), geometry, GRID, FINE) == (48, 3)
    assert point_target((11.0, 1.0), geometry, GRID, (21, 14)) == (1, 0)
    assert point_target((16.0, 8.0), geometry, GRID, (21, 14)) == (1, 5)
    assert point_target((16.0, 8.0), geometry, GRID, GRID) == (1, 0)


@pytest.mark.parametrize("image", [SQUASH, LETTERBOX])
def test_the_centre_of_the_sub_cell_leads_back_to_cell_and_sub_cell(image):
    geometry = FrameGeometry.of(image, 240, 320)
    for cell, (x, y) in enumerate(geometry.cell_centre(np.arange(196), FINE)):
        coarse, fine = point_target((x, y), geometry, GRID, FINE)
        row, column = coarse // 7 * 2 + fine // 2, coarse % 7 * 2 + fine % 2
        assert row * 14 + column == cell


def test_a_refinement_map_that_does_not_divide_the_cells_is_refused():
    with pytest.raises(ConfigError, match="refinement"):
        targets_of(table([label(0)]), SQUASH, GRID, (15, 14))


@pytest.mark.parametrize("image", [SQUASH, LETTERBOX])
def test_a_table_gives_what_its_rows_give_one_by_one(image):
    rows = [label(i, mask, innermost_pixel(mask) if i % 2 else None) for i, mask in enumerate(blobs(20))]
    rows += [label(100 + i, mask) for i, mask in enumerate(blobs(10, (48, 64), seed=1))]
    rows += [label(200, point=(10.0, 20.0), size=(60, 80)), label(201)]
    targets = targets_of(table(rows), image, GRID, FINE)
    masks = [*blobs(20), *blobs(10, (48, 64), seed=1)]
    for i, mask in enumerate(masks):
        geometry, point = FrameGeometry.of(image, *mask.shape), innermost_pixel(mask)
        np.testing.assert_array_equal(targets.cells[i], cell_targets(mask, geometry, GRID))
        assert (targets.coarse[i], targets.fine[i]) == point_target(point, geometry, GRID, FINE)
        assert tuple(targets.point[i]) == point
    geometry = FrameGeometry.of(image, 60, 80)
    np.testing.assert_array_equal(targets.cells[-2], cell_targets((10.0, 20.0), geometry, GRID))
    assert targets.positive.tolist() == [True] * (len(rows) - 1) + [False]
    assert targets.has_region.tolist() == [True] * (len(rows) - 2) + [False, False]


def test_a_negative_row_has_no_cell_and_no_point():
    targets = targets_of(table([label(0)]), SQUASH, GRID, FINE)
    assert not targets.cells.any()
    assert (targets.coarse[0], targets.fine[0]) == (-1, -1)
    assert np.isnan(targets.point).all()


def test_no_rows_give_no_targets():
    targets = targets_of(table([]), SQUASH, GRID, FINE)
    assert targets.cells.shape == (0, 49)
    assert targets.point.shape == (0, 2)


def test_a_point_needs_the_size_of_its_frame():
    rows = table([label(0), label(1, point=(10.0, 10.0), camera="top")])
    with pytest.raises(ManifestError, match="label row 1"):
        targets_of(rows, SQUASH, GRID, FINE)
    assert targets_of(rows, SQUASH, GRID, FINE, frame_sizes={"top": (70, 70)}).coarse.tolist() == [-1, 8]


def test_a_mask_of_another_size_than_its_frame_is_refused():
    with pytest.raises(ManifestError, match="another size"):
        targets_of(table([label(0, box(0, 5, 0, 5))]), SQUASH, GRID, FINE, frame_sizes={"main": (60, 80)})


def test_a_predicted_point_hits_its_region_or_not():
    mask = box(10, 20, 30, 40)
    rows = table([label(0, mask), label(1, mask), label(2), label(3, point=(1.0, 1.0), size=(70, 70)), label(4, mask)])
    points = np.array([[30.0, 10.0], [40.0, 10.0], [35.0, 15.0], [1.0, 1.0], [np.nan, np.nan]])
    assert region_contains(rows, points).tolist() == [True, False, False, False, False]


def test_a_thousand_masks_take_no_longer_than_a_second():
    masks = list(blobs(100, (240, 320)))
    rows = table([label(i, masks[i % len(masks)], (0.0, 0.0)) for i in range(1000)])
    start = time.process_time()
    targets_of(rows, SQUASH, GRID, FINE)
    assert time.process_time() - start < 1
