"""R without text: X-VLA's numbers, X-VLA's fingerprint, and nothing of the rest of the policy."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from visual_thought.extract.backbones import davit
from visual_thought.extract.backbones import xvla as whole
from visual_thought.extract.preprocess import preprocess
from visual_thought.pipeline.errors import ConfigError, WeightsError

CPU = torch.device("cpu")
TOWER = "model.vlm.vision_tower."


def loaded(module, folder, features=("r",), size=(64, 64), **options):
    specs = module.describe(str(folder), features=features, image_size=size, **options)
    return module.load(str(folder), specs, device=CPU)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("size", [(64, 64), (96, 160), (224, 224)])
def test_r_is_x_vlas_bit_for_bit(xvla, frames, dtype, size):
    alone, both = (
        loaded(davit, xvla, dtype=dtype, size=size),
        loaded(whole, xvla, ("z", "r"), dtype=dtype, size=size),
    )
    assert alone.specs[0] == both.specs[1]
    assert alone.specs[0].fingerprint == both.specs[1].fingerprint
    pixels = preprocess(frames, alone.specs[0].image)
    features, state = alone.encode_frames(pixels)
    assert state is None
    assert torch.equal(features["r"], both.encode_frames(pixels).features["r"])


def test_only_the_stages_up_to_rs_are_there(xvla):
    tower = loaded(davit, xvla).tower
    stored = load_file(xvla / "model.safetensors")
    expected = {name.removeprefix(TOWER) for name in stored if name.startswith(TOWER)}
    expected = {name for name in expected if name.split(".")[1] in "012"}
    assert set(tower.state_dict()) == expected
    assert len(tower.blocks) == len(tower.convs) == 3


def test_x_vla_asked_for_r_alone_loads_no_more_than_that(xvla):
    assert isinstance(loaded(whole, xvla), davit.DaViTBackbone)


def test_neither_policy_nor_language_encoder_is_ever_built(xvla, monkeypatch):
    from lerobot.policies.xvla.modeling_xvla import XVLAModel
    from transformers.models.bart.modeling_bart import BartModel

    def refuse(self, *_args, **_more):
        raise AssertionError(type(self))

    for built in (BartModel, XVLAModel):
        monkeypatch.setattr(built, "__init__", refuse)
    loaded(davit, xvla)


def test_a_checkpoint_of_the_original_layout_gives_the_same_r(xvla, xvla_with, frames):
    """The remote code's names of the tower's parts, back to front of what LeRobot's loading makes of them."""
    folder = xvla_with()
    weights = load_file(folder / "model.safetensors")
    projection = weights.pop("model.vlm.multi_modal_projector.image_projection.weight")
    renamed = {original_name(name): tensor for name, tensor in weights.items()}
    renamed["model.vlm.image_projection"] = projection.T.contiguous()
    assert len(set(renamed) - set(weights)) > 40
    save_file(renamed, folder / "model.safetensors")
    new, old, both = loaded(davit, xvla), loaded(davit, folder), loaded(whole, folder, ("z", "r"))
    pixels = preprocess(frames, new.specs[0].image)
    assert torch.equal(new.encode_map(pixels), old.encode_map(pixels))
    assert torch.equal(both.encode_images(pixels)[1], old.encode_map(pixels))


def test_a_tensor_too_few_or_too_many_is_named(xvla_with):
    folder = xvla_with()
    weights = load_file(folder / "model.safetensors")
    kept = weights.pop(f"{TOWER}convs.0.conv.bias")
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"convs\.0\.conv\.bias"):
        loaded(davit, folder)
    save_file(
        weights | {f"{TOWER}convs.0.conv.bias": kept, f"{TOWER}extra": kept.clone()}, folder / "model.safetensors"
    )
    with pytest.raises(WeightsError, match="too many, the first is extra"):
        loaded(davit, folder)
    save_file(weights | {f"{TOWER}convs.0.conv.bias": kept[1:].clone()}, folder / "model.safetensors")
    with pytest.raises(WeightsError, match="size mismatch"):
        loaded(davit, folder)


def test_the_text_is_not_asked_for(xvla_with):
    folder = xvla_with(without=("policy_preprocessor.json", "tokenizer.json"))
    assert loaded(davit, folder).specs[0].name == "r"


def test_z_is_refused(xvla):
    with pytest.raises(ConfigError, match="no feature 'z'"):
        davit.describe(str(xvla), features=("z",))


def original_name(name):
    if not name.startswith(TOWER):
        return name
    kind = "channel_attn" if "channel_block" in name else "window_attn"
    for new, old in (
        (f".{kind}.", f".{kind}.fn."),
        (".norm1.", f".{kind}.norm."),
        (".norm2.", ".ffn.norm."),
        (".ffn.fc", ".ffn.fn.net.fc"),
        ("_block.conv1.", "_block.conv1.fn.dw."),
        ("_block.conv2.", "_block.conv2.fn.dw."),
    ):
        if new in name:
            return name.replace(new, old)
    return name.replace(".conv.", ".proj.")
