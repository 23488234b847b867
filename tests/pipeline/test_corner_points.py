"""The parts of point decoding that stand for slower layers."""

import pytest
import torch
from torch.nn import functional

from visual_thought.pipeline.corners import Blur, find_peaks, running_max


def test_the_running_maximum_is_max_pooling():
    x = torch.randn(2, 1, 30, 17)
    assert torch.equal(running_max(running_max(x, 2), 3), functional.max_pool2d(x, 11, stride=1, padding=5))


def test_the_blur_is_its_convolution_whatever_its_weights():
    blur, x = Blur(), torch.randn(2, 1, 20, 13)
    blur.conv.weight.copy_(torch.randn(1, 1, 7, 7))
    torch.testing.assert_close(blur(x), blur.conv(x))
    assert set(blur.state_dict()) == {"conv.weight"}


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_maps_without_orientation_give_points_without_angle(channels):
    response = torch.zeros(1, 1, 30, 30)
    response[0, 0, 14, 9] = 1.0
    (found,) = find_peaks(response, Blur(), torch.zeros(1, channels, 30, 30), 0.1)
    assert found.xy.tolist() == [[9.0, 14.0]]
    assert found.angle.isnan().all()
