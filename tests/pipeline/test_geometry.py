import numpy as np
import pytest
import torch
import torch.nn.functional as F

from visual_thought.pipeline.geometry import FrameGeometry, resized_size
from visual_thought.pipeline.spec import ImageSpec

SPECS = [ImageSpec(224, 224), ImageSpec(224, 224, "letterbox"), ImageSpec(96, 160), ImageSpec(96, 160, "letterbox")]
SIZES = [(480, 640), (240, 320), (48, 64), (640, 480), (100, 333), (224, 224)]


def every_case(test):
    spec_ids = [f"{spec.resize} {spec.height}x{spec.width}" for spec in SPECS]
    return pytest.mark.parametrize("image", SPECS, ids=spec_ids)(pytest.mark.parametrize("size", SIZES)(test))


@every_case
def test_points_return_from_the_network_input(image, size):
    geometry = FrameGeometry.of(image, *size)
    points = np.random.default_rng(0).uniform(0, 1, (50, 2)) * size[::-1]
    np.testing.assert_allclose(geometry.to_frame(geometry.to_input(points)), points, atol=1e-9)


@every_case
def test_the_frame_ends_at_the_right_and_bottom_of_the_input(image, size):
    """Padding is on the left and top only, so the frame's last corner is the input's."""
    geometry = FrameGeometry.of(image, *size)
    first, last = geometry.to_input(np.array([[0.0, 0.0], size[::-1]]))
    np.testing.assert_allclose(last, [image.width, image.height])
    assert (first >= 0).all()
    if image.resize == "squash":
        np.testing.assert_allclose(first, 0)


def lerobot_letterbox(picture: torch.Tensor, height: int, width: int) -> tuple[torch.Tensor, int, int]:
    """The rule of the checkpoint's own processor, written out: keep the aspect, pad left and top with -1."""
    h, w = picture.shape[-2:]
    ratio = max(w / width, h / height)
    new_h, new_w = int(h / ratio), int(w / ratio)
    small = F.interpolate(picture, size=(new_h, new_w), mode="bilinear", align_corners=False)
    return F.pad(small, (width - new_w, 0, height - new_h, 0), value=-1.0), new_h, new_w


@pytest.mark.parametrize("size", SIZES)
def test_letterbox_is_lerobots(size):
    image = ImageSpec(224, 224, "letterbox")
    padded, new_h, new_w = lerobot_letterbox(torch.zeros(1, 1, *size), 224, 224)
    geometry = FrameGeometry.of(image, *size)
    assert resized_size(image, *size) == (new_h, new_w)
    content = (padded[0, 0] == 0).nonzero()
    assert content.min(0).values.tolist() == [geometry.offset_y, geometry.offset_x]
    assert padded.shape[-2:] == (224, 224)


@pytest.mark.parametrize("image", SPECS[:2], ids=["squash", "letterbox"])
def test_a_bright_blob_lies_in_the_input_where_the_geometry_says(image):
    """The affine map agrees with the resampling itself: the centre of mass moves as the point does."""
    y, x = np.mgrid[:240, :320] + 0.5
    centre = np.array([[201.0, 77.0]])
    blob = np.exp(-((x - centre[0, 0]) ** 2 + (y - centre[0, 1]) ** 2) / 200)
    size = resized_size(image, 240, 320)
    small = F.interpolate(torch.tensor(blob)[None, None], size=size, mode="bilinear", align_corners=False)[0, 0].numpy()
    placed = np.pad(small, ((image.height - size[0], 0), (image.width - size[1], 0)))
    rows, columns = np.mgrid[: image.height, : image.width] + 0.5
    mass = np.array([(placed * columns).sum(), (placed * rows).sum()]) / placed.sum()
    np.testing.assert_allclose(mass, FrameGeometry.of(image, 240, 320).to_input(centre)[0], atol=0.05)


@every_case
def test_cell_centres_lie_in_their_cells(image, size):
    geometry = FrameGeometry.of(image, *size)
    for grid in ((7, 7), (14, 14), (3, 5)):
        cells = np.arange(grid[0] * grid[1])
        assert (geometry.cell_of(geometry.cell_centre(cells, grid), grid) == cells).all()


def test_points_beyond_the_frame_fall_into_the_border_cells():
    geometry = FrameGeometry.of(ImageSpec(224, 224), 240, 320)
    cells = geometry.cell_of(np.array([[-5.0, -5.0], [320.0, 240.0], [400.0, 10.0]]), (7, 7))
    assert cells.tolist() == [0, 48, 6]


@pytest.mark.parametrize("image", SPECS, ids=lambda spec: f"{spec.resize} {spec.height}x{spec.width}")
@pytest.mark.parametrize("grid", [(7, 7), (2, 5)])
def test_cell_shares_equal_a_loop_over_pixels_and_cells(image, grid):
    mask = np.random.default_rng(1).random((12, 17)) < 0.3
    geometry = FrameGeometry.of(image, 12, 17)
    coverage, share = geometry.cell_shares(mask, grid)
    cell_w, cell_h = image.width / grid[1], image.height / grid[0]
    for row in range(grid[0]):
        for column in range(grid[1]):
            area = 0.0  # in input pixels
            for j, i in zip(*np.nonzero(mask), strict=True):
                (x0, y0), (x1, y1) = geometry.to_input(np.array([[i, j], [i + 1, j + 1]], float))
                wide = min(x1, (column + 1) * cell_w) - max(x0, column * cell_w)
                high = min(y1, (row + 1) * cell_h) - max(y0, row * cell_h)
                area += max(0.0, wide) * max(0.0, high)
            cell = row * grid[1] + column
            assert coverage[cell] == pytest.approx(area / (cell_w * cell_h), abs=1e-12)
            whole = mask.sum() * geometry.scale_x * geometry.scale_y
            assert share[cell] == pytest.approx(area / whole, abs=1e-12)


@pytest.mark.parametrize("image", SPECS, ids=lambda spec: f"{spec.resize} {spec.height}x{spec.width}")
def test_shares_sum_to_one_and_a_full_frame_covers_its_cells(image):
    geometry = FrameGeometry.of(image, 48, 64)
    coverage, share = geometry.cell_shares(np.ones((48, 64), bool), (7, 7))
    assert share.sum() == pytest.approx(1)
    if image.resize == "squash":
        np.testing.assert_allclose(coverage, 1)
    assert coverage.max() == pytest.approx(1)
    assert (coverage * geometry.cell_areas((7, 7)).ravel()).sum() == pytest.approx(48 * 64)


def test_an_empty_region_has_no_share():
    coverage, share = FrameGeometry.of(ImageSpec(224, 224), 48, 64).cell_shares(np.zeros((48, 64), bool), (7, 7))
    assert not coverage.any()
    assert not share.any()
