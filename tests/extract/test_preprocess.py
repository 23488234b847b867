import numpy as np
import pytest
import torch
from lerobot.policies.common.vla_utils import resize_with_pad

from visual_thought.extract.preprocess import preprocess
from visual_thought.pipeline.geometry import FrameGeometry
from visual_thought.pipeline.spec import ImageSpec


def normalised(frame, image):
    x = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
    return (x - torch.tensor(image.mean).view(3, 1, 1)) / torch.tensor(image.std).view(3, 1, 1)


@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (37, 91), (224, 224), (300, 200), (480, 640)])
def test_letterbox_equals_lerobots_resize_with_pad_of_the_normalised_image(shape):
    frame = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    image = ImageSpec(224, 224, "letterbox")
    expected = resize_with_pad(normalised(frame, image), 224, 224, pad_value=0.0)
    assert torch.equal(preprocess([frame], image), expected)


def test_letterbox_pads_left_and_top_with_zeros_as_the_geometry_says():
    frame = np.full((48, 64, 3), 255, np.uint8)
    image = ImageSpec(64, 64, "letterbox")
    x = preprocess([frame], image)[0]
    geometry = FrameGeometry.of(image, 48, 64)
    assert (geometry.offset_x, geometry.offset_y) == (0, 16)
    assert x[:, :16].eq(0).all()
    assert x[:, 16:].gt(1).all()


def test_squash_is_bilinear_without_antialiasing(frames):
    image = ImageSpec(32, 40)
    expected = torch.nn.functional.interpolate(normalised(frames[0], image), (32, 40), mode="bilinear")
    assert torch.equal(preprocess(frames[:1], image), expected)


def test_an_almost_black_frame_is_divided_by_255_like_any_other():
    dark = np.ones((8, 8, 3), np.uint8)
    image = ImageSpec(8, 8)
    expected = (1 / 255 - torch.tensor(image.mean)) / torch.tensor(image.std)
    torch.testing.assert_close(preprocess([dark], image)[0, :, 3, 3], expected)


def test_a_frame_does_not_depend_on_the_others_in_its_batch(frames):
    image = ImageSpec(32, 32, "letterbox")
    other = np.zeros((10, 90, 3), np.uint8)
    assert torch.equal(preprocess([frames[0], other], image)[0], preprocess(frames[:1], image)[0])


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4, 3), np.float32), np.zeros((3, 4, 4), np.uint8), np.zeros((4, 4), np.uint8)]
)
def test_anything_but_uint8_rgb_is_refused(bad):
    with pytest.raises(ValueError, match="uint8"):
        preprocess([bad], ImageSpec(8, 8))
