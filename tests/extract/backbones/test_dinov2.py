"""E against transformers' own forward, its options, and the way from a token back to the frame."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, Dinov2Config, Dinov2ForImageClassification, Dinov2WithRegistersConfig

from visual_thought.extract.backbones.dinov2 import describe, load
from visual_thought.extract.backbones.dinov2_spec import DEFAULTS, OF_TYPE, aspect_size
from visual_thought.extract.preprocess import preprocess
from visual_thought.pipeline.errors import ConfigError, WeightsError
from visual_thought.pipeline.geometry import FrameGeometry
from visual_thought.pipeline.spec import ImageSpec, TokenLayout

CPU = torch.device("cpu")


def described(folder, size=(56, 56), **options):
    settings = {name: options.pop(name) for name in ("dtype", "resize", "frame_size") if name in options}
    return describe(str(folder), image_size=size, options=options, **settings)[0]


def loaded(folder, **options):
    return load(str(folder), [described(folder, **options)], device=CPU)


@pytest.fixture(params=["dinov2", "dinov2_with_registers"])
def folder(request):
    return request.getfixturevalue(request.param)


def test_nothing_is_said_while_loading(tmp_path, write_dinov2, capfd):
    folder = write_dinov2(tmp_path, kind="ForImageClassification")
    capfd.readouterr()
    loaded(folder)
    assert tuple(capfd.readouterr()) == ("", "")


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("size", [(56, 56), (28, 70), (84, 56)])
def test_tokens_are_those_of_transformers_own_forward(folder, frames, size, dtype):
    reference = AutoModel.from_pretrained(folder).eval()
    registers = getattr(reference.config, "num_register_tokens", 0)
    for norm in ("final", "pre"):
        backbone = loaded(folder, size=size, dtype=dtype, norm=norm, cls=True, registers=registers > 0)
        pixels = preprocess(frames, backbone.specs[0].image)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
            told = reference(pixels, output_hidden_states=True)
        expected = told.last_hidden_state if norm == "final" else told.hidden_states[-1]
        assert torch.equal(backbone.encode_tokens(pixels), expected.float())
        patches = loaded(folder, size=size, dtype=dtype, norm=norm).encode_tokens(pixels)
        assert torch.equal(patches, expected[:, 1 + registers :].float())


def test_class_token_registers_and_patches_come_in_this_order(dinov2_with_registers, frames):
    def tokens(**options):
        backbone = loaded(dinov2_with_registers, dtype="fp32", **options)
        return backbone.encode_tokens(preprocess(frames, backbone.specs[0].image)), backbone.specs[0].layout

    every, layout = tokens(cls=True, registers=True)
    assert layout == TokenLayout(grid=(4, 4), prefix=4)
    with_class, layout = tokens(cls=True)
    assert layout == TokenLayout(grid=(4, 4), prefix=1)
    with_registers, layout = tokens(registers=True)
    assert layout == TokenLayout(grid=(4, 4), prefix=3)
    patches, layout = tokens()
    assert layout == TokenLayout(grid=(4, 4))
    assert torch.equal(every, torch.cat([with_class[:, :1], with_registers], dim=1))
    assert torch.equal(every[:, -16:], patches)
    assert torch.equal(with_class[:, 1:], patches)


def test_a_640x480_frame_at_a_long_side_of_476_gives_850_patches(tmp_path, dinov2):
    folder = copy(dinov2, tmp_path, hidden_size=768)
    spec = described(folder, size=None, long_side=476, frame_size=(480, 640))
    assert spec.image == ImageSpec(350, 476)
    assert spec.layout == TokenLayout(grid=(25, 34))
    assert spec.shape == (850, 768)
    assert spec == described(folder, size=(350, 476))  # the same numbers, so the same feature


@pytest.mark.parametrize(
    ("frame_size", "long_side", "expected"),
    [
        ((480, 640), 476, (350, 476)),
        ((640, 480), 476, (476, 350)),
        ((480, 640), 489, (364, 476)),
        ((9, 9), 14, (14, 14)),
    ],
)
def test_both_sides_are_floored_to_whole_patches(frame_size, long_side, expected):
    assert aspect_size(frame_size, long_side, 14) == expected


def test_a_full_size_input_without_options_is_224_pixels_a_side(dinov2):
    spec = described(dinov2, size=None, cls=True)
    assert (spec.image, spec.shape) == (ImageSpec(224, 224), (257, 32))


@pytest.mark.parametrize("settings", [{"resize": "letterbox"}, {"resize": "squash"}, {"long_side": 56}])
def test_a_patch_sees_the_place_that_the_geometry_names(dinov2, settings):
    """Only the cell in which a pixel lies changes its embedding when that pixel changes."""
    size = None if "long_side" in settings else (56, 56)
    backbone = loaded(dinov2, size=size, dtype="fp32", frame_size=(48, 64), **settings)
    spec = backbone.specs[0]
    geometry = FrameGeometry.of(spec.image, 48, 64)
    dark = np.zeros((48, 64, 3), np.uint8)
    for cell in range(spec.layout.cells):
        x, y = geometry.cell_centre(np.array([cell]), spec.layout.grid)[0]
        if not (0 <= x < 64 and 0 <= y < 48):
            continue
        spot = dark.copy()
        spot[int(y), int(x)] = 255
        pixels = preprocess([dark, spot], spec.image)
        with torch.no_grad():
            embedded = backbone.model.embeddings.patch_embeddings(pixels)
        assert (embedded[0] != embedded[1]).any(dim=-1).nonzero().flatten().tolist() == [cell]
        assert geometry.cell_of(np.array([[x, y]]), spec.layout.grid).tolist() == [cell]


def test_the_defaults_are_those_of_transformers():
    for config in (Dinov2Config(), Dinov2WithRegistersConfig()):
        defaults = {**DEFAULTS, **OF_TYPE[config.model_type]}
        assert {key: getattr(config, key) for key in defaults} == defaults


def test_swiglu_and_other_sizes_load(tmp_path, write_dinov2, frames):
    folder = write_dinov2(tmp_path, hidden_size=48, num_hidden_layers=3, use_swiglu_ffn=True)
    backbone = loaded(folder, dtype="fp32")
    assert backbone.encode_tokens(preprocess(frames, backbone.specs[0].image)).shape == (4, 16, 48)


def test_a_classifiers_checkpoint_serves_without_its_head(tmp_path, write_dinov2, frames):
    backbone = loaded(write_dinov2(tmp_path, kind="ForImageClassification"), dtype="fp32")
    model = Dinov2ForImageClassification.from_pretrained(tmp_path).eval()
    pixels = preprocess(frames, backbone.specs[0].image)
    with torch.no_grad():
        assert torch.equal(backbone.encode_tokens(pixels), model.dinov2(pixels).last_hidden_state[:, 1:])


def test_weights_saved_in_bfloat16_compute_in_fp32_when_asked(tmp_path, dinov2):
    folder = copy(dinov2, tmp_path, dtype="bfloat16")
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: value.bfloat16() for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    assert {value.dtype for value in loaded(folder, dtype="fp32").model.parameters()} == {torch.float32}


def test_loading_leaves_the_random_state_alone(dinov2):
    before = torch.get_rng_state()
    loaded(dinov2)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_tensor_too_few_too_many_or_of_another_shape_is_named(tmp_path, dinov2):
    folder = copy(dinov2, tmp_path)
    weights = load_file(folder / "model.safetensors")
    name = "encoder.layer.1.mlp.fc1.bias"
    value = weights.pop(name)
    for changed, said in (
        (weights, "missing, the first is encoder"),
        (weights | {name: value, "extra": value.clone()}, "too many, the first is extra"),
        (weights | {name: value[1:].clone()}, "size mismatch"),
    ):
        save_file(changed, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(WeightsError, match=said):
            loaded(folder)


def test_a_mask_token_is_not_missed(tmp_path, dinov2):
    folder = copy(dinov2, tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["embeddings.mask_token"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    loaded(folder)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"size": (60, 56)}, "56 x 56"),
        ({"norm": "middle"}, "no such norm"),
        ({"cls": "yes"}, "true or false"),
        ({"registers": True}, "no registers"),
        ({"long_side": 56, "frame_size": (48, 64)}, "long_side alone"),
        ({"long_side": 56, "size": None}, "frames of one size"),
        ({"long_side": 7, "size": None, "frame_size": (48, 64)}, "too short"),
        ({"long_side": "56", "size": None, "frame_size": (48, 64)}, "number of pixels"),
        ({"clss": True}, "did you mean 'cls'"),
    ],
)
def test_what_cannot_be_is_refused(dinov2, settings, said):
    with pytest.raises(ConfigError, match=said):
        described(dinov2, **settings)


def copy(source, tmp_path, **changes):
    folder = tmp_path / "copy"
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder
