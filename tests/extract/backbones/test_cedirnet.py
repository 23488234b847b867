"""The detector, the localisers, their peaks, and the conversion of published files."""

import json
import os

import numpy as np
import pytest
import torch
from torch.nn import functional

from visual_thought.extract.backbones import cedirnet
from visual_thought.extract.backbones.cedirnet.convert import convert, file_sha256
from visual_thought.extract.backbones.cedirnet.localiser import (
    HANDMADE_SCORE,
    WIDTHS,
    HandmadeLocaliser,
    Localiser,
    find_peaks,
)
from visual_thought.extract.backbones.cedirnet.network import CeDiRNetDetector, DetectorShape, infer_shape
from visual_thought.pipeline.cli import run
from visual_thought.pipeline.errors import ConfigError, WeightsError

pytestmark = pytest.mark.timeout(300)  # conversions start a process that imports torch
NARROW = DetectorShape((32, 64, 128, 256), (2, 2, 3, 2))
L_DIMS = (192, 384, 768, 1536)


def perfect_maps(corners, height=96, width=128):
    """The maps of corners at whole pixels, as the definition of the channels says."""
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    away = torch.stack([torch.hypot(cx - x, cy - y) for cx, cy in corners])
    nearest = away.argmin(dim=0)
    cx, cy = (torch.tensor([corner[axis] for corner in corners]).float()[nearest] for axis in (0, 1))
    r = torch.hypot(cx - x, cy - y)
    sin, cos = (cx - x) / r.clamp(min=1e-9), (cy - y) / r.clamp(min=1e-9)
    cos = torch.where(r == 0, torch.ones_like(cos), cos)
    angle = torch.tensor(0.3)
    return torch.stack(
        [sin, cos, torch.log10(r + 1), angle.cos().expand_as(x), angle.sin().expand_as(x), torch.zeros_like(x)]
    )[None]


@pytest.fixture(scope="module")
def checkpoint():
    """A narrow detector and localiser as the authors' trainer saves them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        detector, localiser = CeDiRNetDetector(NARROW).eval(), Localiser().eval()
    return detector, {
        "epoch": 3,
        "model_state_dict": {f"module.{name}": value for name, value in detector.state_dict().items()},
        "optim_state_dict": {},
        "criterion_state_dict": {},
        "center_model_state_dict": {
            f"module.instance_center_estimator.{name}": value for name, value in localiser.state_dict().items()
        },
        "center_optim_state_dict": {},
        "logger_data": {"loss": [np.float64(0.25)], "score": np.float32(0.5)},
    }


@pytest.fixture
def published(checkpoint, tmp_path):
    path = tmp_path / "ConvNext-narrow-RGB.pth"
    torch.save(checkpoint[1], path)
    return path


@pytest.mark.parametrize(("dims", "parameters"), [((128, 256, 512, 1024), 89_831_942), (L_DIMS, 198_740_550)])
def test_the_published_sizes_have_the_published_numbers_of_parameters(dims, parameters):
    with torch.device("meta"):
        detector = CeDiRNetDetector(DetectorShape(dims))
    assert sum(value.numel() for value in detector.parameters()) == parameters
    assert len(detector.state_dict()) == 379
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in detector.modules())
    assert infer_shape(detector.state_dict()) == DetectorShape(dims)


def test_a_detector_of_any_width_is_known_from_its_tensors():
    shape = DetectorShape((32, 64, 128, 256), (1, 1, 2, 1), in_channels=4, heads=(3, 1), widths=(96, 64, 32))
    with torch.device("meta"):
        detector = CeDiRNetDetector(shape)
    assert infer_shape(detector.state_dict()) == shape


def test_channels_two_and_five_are_the_first_heads_and_three_and_four_the_second_heads(checkpoint):
    detector, image = checkpoint[0], torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        maps = detector(image)
        normal = (image - detector.mean) / detector.std
        first, second = detector.model(normal)
    assert maps.shape == (2, 6, 64, 96)
    torch.testing.assert_close(maps[:, [0, 1, 2, 5]], first)
    torch.testing.assert_close(maps[:, [3, 4]], second)


def test_a_side_that_is_no_multiple_of_32_is_refused(checkpoint):
    with pytest.raises(ValueError, match="multiples of 32"):
        checkpoint[0](torch.rand(1, 3, 64, 90))


def test_four_channels_are_not_normalised():
    with torch.random.fork_rng():
        detector = CeDiRNetDetector(DetectorShape(NARROW.dims, NARROW.depths, in_channels=4)).eval()
    image = torch.rand(1, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(detector(image)[:, :3], detector.model(image)[0][:, :3])


def test_the_response_made_by_hand_is_two_at_a_perfect_corner_and_nowhere_more():
    response = HandmadeLocaliser()(perfect_maps([(60, 40)]))
    assert response.max().item() == pytest.approx(2.0, abs=1e-5)
    assert torch.nonzero(response[0, 0] == response.max()).tolist() == [[40, 60]]


def test_the_response_made_by_hand_is_the_formula_by_loops():
    maps, (x, y) = perfect_maps([(20, 14), (50, 30)], 48, 80), (23, 17)
    response, best = HandmadeLocaliser()(maps)[0, 0, y, x].item(), -np.inf
    for width in WIDTHS:
        total, half = 0.0, width // 2
        for step in range(-half, half + 1):
            weight = (0 if step == 0 else 1 if step < 0 else -1) / (width - 1)
            if 0 <= y + step < 48:
                total += weight * maps[0, 1, y + step, x].item()
            if 0 <= x + step < 80:
                total += weight * maps[0, 0, y, x + step].item()
        best = max(best, total)
    assert response == pytest.approx(best, abs=1e-5)


def test_corners_are_found_where_they_are_with_their_angle_best_first():
    corners = [(30, 20), (90, 70), (100, 24)]
    localiser, maps = HandmadeLocaliser(), perfect_maps(corners)
    (found,) = find_peaks(localiser(maps), localiser.gaussian_blur, maps, HANDMADE_SCORE)
    assert {tuple(xy) for xy in found.xy[:3].int().tolist()} == set(corners)
    assert found.score.tolist() == sorted(found.score.tolist(), reverse=True)
    torch.testing.assert_close(found.angle, torch.full_like(found.angle, 0.3))


def test_a_peak_within_five_pixels_of_a_border_is_left_out():
    response, maps = torch.zeros(1, 1, 40, 40), torch.zeros(1, 6, 40, 40)
    response[0, 0, 4, 20] = response[0, 0, 20, 35] = response[0, 0, 20, 5] = 1.0
    (found,) = find_peaks(response, HandmadeLocaliser().gaussian_blur, maps, 0.5)
    assert found.xy.tolist() == [[5.0, 20.0]]


def test_no_response_gives_no_points():
    response, maps = torch.full((1, 1, 32, 32), -1.0), torch.zeros(1, 6, 32, 32)
    (found,) = find_peaks(response, HandmadeLocaliser().gaussian_blur, maps, 0)
    assert found.xy.shape == (0, 2)


def test_the_localiser_reads_cos_then_sin_and_answers_at_full_size():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        localiser = Localiser().eval()
    maps = perfect_maps([(40, 30)], 64, 96)
    with torch.inference_mode():
        response = localiser(maps)
        x = localiser.conv_start(torch.cat([maps[:, 1:2], maps[:, 0:1]], dim=1))
        again = localiser.conv_merge_fn(localiser.conv_end(torch.cat([d(x) for d in localiser.conv_dilations], dim=1)))
    assert response.shape == (1, 1, 64, 96)
    torch.testing.assert_close(response, again)
    assert x.shape == (1, 32, 4, 6)


def test_the_blur_keeps_the_sum_of_what_lies_inside():
    spot = torch.zeros(1, 1, 21, 21)
    spot[0, 0, 10, 10] = 1
    blurred = HandmadeLocaliser().gaussian_blur(spot)
    assert blurred.sum().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(blurred, functional.pad(blurred[..., 7:14, 7:14], (7, 7, 7, 7)))


def test_a_converted_file_gives_the_same_maps(published, checkpoint, tmp_path):
    config = convert(published, tmp_path / "out", sha256=file_sha256(published).upper())
    model = cedirnet.load(tmp_path / "out")
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(model(image), checkpoint[0](image))
    assert config["source"]["sha256"] == file_sha256(published)
    assert isinstance(model.localiser, Localiser)
    assert not any(value.requires_grad for value in model.parameters())
    assert not model.training


@pytest.mark.slow
def test_without_a_localiser_the_one_made_by_hand_is_used(checkpoint, tmp_path):
    torch.save(checkpoint[1] | {"center_model_state_dict": {}}, tmp_path / "a.pth")
    assert not convert(tmp_path / "a.pth", tmp_path / "out")["localiser"]
    model, maps = cedirnet.load(tmp_path / "out"), perfect_maps([(60, 40)])
    assert model.decode(maps)[0].xy.tolist() == [[60.0, 40.0]]


@pytest.mark.slow
def test_a_localiser_without_running_statistics_is_refused_until_another_is_given(checkpoint, published, tmp_path):
    bare = {k: v for k, v in checkpoint[1]["center_model_state_dict"].items() if "running" not in k}
    torch.save(checkpoint[1] | {"center_model_state_dict": bare}, tmp_path / "bare.pth")
    with pytest.raises(WeightsError, match=r"running statistics[\s\S]*localization_checkpoint"):
        convert(tmp_path / "bare.pth", tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())
    assert convert(tmp_path / "bare.pth", tmp_path / "out", localiser=published)["localiser"]


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_code_in_a_file_never_runs(checkpoint, tmp_path):
    marker = tmp_path / "ran"
    torch.save(checkpoint[1] | {"logger_data": Payload(marker)}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="cannot be converted"):
        convert(tmp_path / "evil.pth", tmp_path / "out")
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        {"model_state_dict": {"module.x": torch.zeros(1)}},
        b"text",
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param([1], marks=pytest.mark.slow),
    ],
)
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "other.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(WeightsError, match="cannot be converted"):
        convert(path, tmp_path / "out")


def test_another_hash_and_a_used_folder_are_refused(published, tmp_path):
    with pytest.raises(WeightsError, match="another file"):
        convert(published, tmp_path / "out", sha256="0" * 64)
    assert not (tmp_path / "out").exists()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "a").touch()
    with pytest.raises(ConfigError, match="not empty"):
        convert(published, tmp_path / "used")


def test_a_folder_that_is_no_cedirnet_is_named(tmp_path):
    with pytest.raises(WeightsError, match="convert-cedirnet"):
        cedirnet.load(tmp_path)


@pytest.mark.slow
def test_the_command_prints_what_it_made(published, tmp_path, capsys):
    assert run(["weights", "convert-cedirnet", str(published), "--out", str(tmp_path / "out"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["detector"]["dims"] == [32, 64, 128, 256]
    assert run(["weights", "convert-cedirnet", str(tmp_path / "none.pth"), "--out", str(tmp_path / "b")]) == 3
    assert "is no file" in capsys.readouterr().err
