"""Y: the network's own maps of RGB in [0, 1], the channels asked for, pooled if asked for."""

import json
import shutil

import numpy as np
import pytest
import torch

from visual_thought.extract.backbones import cedirnet as network
from visual_thought.extract.backbones.cedirnet.backbone import describe, load
from visual_thought.extract.preprocess import preprocess
from visual_thought.pipeline.errors import ConfigError, WeightsError
from visual_thought.pipeline.geometry import FrameGeometry
from visual_thought.pipeline.spec import ImageSpec, TokenLayout

CPU = torch.device("cpu")


def described(folder, size=(64, 96), dtype="fp32", resize=None, **options):
    return describe(str(folder), image_size=size, dtype=dtype, resize=resize, options=options)[0]


def loaded(folder, **options):
    return load(str(folder), [described(folder, **options)], device=CPU)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_y_is_what_the_network_makes_of_rgb_in_0_to_1(cedirnet, frames, dtype):
    """A frame of the input's own size, so that nothing is resized."""
    frames = [np.pad(frame, ((0, 16), (0, 32), (0, 0))) for frame in frames]
    rgb = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
        maps = network.load(cedirnet)(rgb).float()
    backbone = loaded(cedirnet, dtype=dtype)
    pixels = preprocess(frames, backbone.specs[0].image)
    assert torch.equal(pixels, rgb)
    assert torch.equal(backbone.encode_frames(pixels).features["y"], maps[:, :3])
    every = loaded(cedirnet, dtype=dtype, channels=[0, 1, 2, 3, 4, 5])
    assert torch.equal(every.encode_maps(pixels), maps)
    assert torch.equal(loaded(cedirnet, dtype=dtype, channels=[4, 0]).encode_maps(pixels), maps[:, [4, 0]])


def test_a_pooled_number_is_the_mean_of_its_pixels(cedirnet, frames):
    full, pooled = loaded(cedirnet), loaded(cedirnet, pool=16)
    pixels = preprocess(frames, full.specs[0].image)
    maps, means = full.encode_maps(pixels), pooled.encode_maps(pixels)
    assert means.shape == (4, 3, 4, 6)
    torch.testing.assert_close(means[1, 2, 3, 5], maps[1, 2, 48:64, 80:96].mean())
    assert pooled.specs[0].layout == TokenLayout(grid=(4, 6))


def test_the_papers_input_is_768_pixels_a_side_and_its_maps_are_as_large(cedirnet):
    spec = described(cedirnet, size=None)
    assert spec.image == ImageSpec(768, 768, "squash", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert (spec.shape, spec.layout.grid, spec.compute["channels"]) == ((3, 768, 768), (768, 768), [0, 1, 2])


def test_a_number_of_a_map_lies_where_the_geometry_says(cedirnet):
    spec = described(cedirnet, size=(64, 64), resize="letterbox")
    geometry = FrameGeometry.of(spec.image, 48, 64)
    assert geometry.cell_centre(np.array([16 * 64 + 3]), spec.layout.grid).tolist() == [[3.5, 0.5]]


def test_padding_is_black(cedirnet):
    spec = described(cedirnet, size=(64, 64), resize="letterbox")
    assert preprocess([np.full((32, 64, 3), 255, np.uint8)], spec.image)[0, :, :32].eq(0).all()


def test_describing_and_converting_import_no_network():
    import subprocess
    import sys

    code = "import sys, visual_thought.extract.backbones.cedirnet.spec as s; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"size": (60, 96)}, "32 x 96"),
        ({"channels": [0, 6]}, "channels"),
        ({"channels": [0, 0]}, "channels"),
        ({"channels": []}, "channels"),
        ({"channels": "all"}, "channels"),
        ({"channels": [True]}, "channels"),
        ({"pool": 5}, "divides 64 and 96"),
        ({"pool": 0}, "divides"),
        ({"pool": "2"}, "divides"),
    ],
)
def test_what_cannot_be_is_refused(cedirnet, settings, said):
    with pytest.raises(ConfigError, match=said):
        described(cedirnet, **settings)


def test_a_detector_that_needs_depth_is_refused(cedirnet, tmp_path):
    folder = shutil.copytree(cedirnet, tmp_path / "depth")
    config = json.loads((folder / "config.json").read_text())
    config["detector"]["in_channels"] = 4
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="RGB alone"):
        described(folder)


def test_an_unconverted_file_is_refused_with_the_way_to_convert_it(tmp_path):
    (tmp_path / "ConvNext-B-RGB.pth").write_bytes(b"")
    with pytest.raises(WeightsError, match="convert-cedirnet"):
        described(tmp_path / "ConvNext-B-RGB.pth")
