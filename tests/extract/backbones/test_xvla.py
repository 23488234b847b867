import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from visual_thought.extract.backbones.xvla import describe, load
from visual_thought.extract.preprocess import preprocess
from visual_thought.pipeline.errors import WeightsError

CPU = torch.device("cpu")
WORDS = ["pick up the orange cube", "put it into the white box", "", "pick up the orange cube"]


@pytest.fixture(scope="module")
def policy(xvla):
    from lerobot.policies.xvla.modeling_xvla import XVLAPolicy

    return XVLAPolicy.from_pretrained(xvla).eval()


@pytest.fixture(scope="module")
def reference(policy, xvla):
    """LeRobot's own class and processor: pixels, instructions -> (ids, Z, R)."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(xvla)

    @torch.no_grad()
    def run(pixels, words):
        encoded = tokenizer(words, max_length=16, padding="max_length", truncation=True, return_tensors="pt")
        mask = torch.ones(len(words), 1)
        z = policy.model.forward_vlm(encoded["input_ids"], pixels[:, None], mask)["vlm_features"]
        states = policy.model.vlm.get_image_features(pixels, output_hidden_states=True).hidden_states
        return encoded["input_ids"], z, states[-2].permute(0, 2, 3, 1)

    return run


def loaded(folder, features=("z", "r"), dtype="fp32", size=(64, 64), **options):
    specs = describe(str(folder), features=features, dtype=dtype, image_size=size, **options)
    return load(str(folder), specs, device=CPU)


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (224, 224)])
def test_z_and_r_equal_lerobots_own_class(xvla, reference, frames, size):
    backbone = loaded(xvla, size=size)
    pixels = preprocess(frames, backbone.specs[0].image)
    ids, z, r = reference(pixels, WORDS)
    tokens, ours_r = backbone.encode_images(pixels)
    assert torch.equal(backbone.encode_text(WORDS), ids)
    assert torch.equal(backbone.fuse(tokens, ids), z)
    assert torch.equal(ours_r, r)
    assert z.shape[1:] == backbone.specs[0].shape
    assert r.shape[1:] == backbone.specs[1].shape


def test_bf16_is_autocast_over_lerobots_own_class(xvla, reference, frames):
    backbone = loaded(xvla, dtype="bf16")
    pixels = preprocess(frames, backbone.specs[0].image)
    with torch.autocast("cpu", torch.bfloat16):
        _, z, r = reference(pixels, WORDS)
    features, tokens = backbone.encode_frames(pixels)
    ours = backbone.encode_queries(tokens, WORDS)["z"]
    assert ours.dtype == torch.float32
    assert torch.equal(ours, z.float())
    assert torch.equal(features["r"], r.float())
    full = loaded(xvla)
    exact = full.fuse(full.encode_images(pixels)[0], full.encode_text(WORDS))
    assert torch.linalg.norm(ours - exact) < 0.02 * torch.linalg.norm(exact)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_earlier_layers_come_out_of_the_same_pass_and_leave_z_as_it_is(xvla, frames, reference, dtype):
    names = ("z1", "r", "z", "z0", "z2")
    backbone = loaded(xvla, features=names, dtype=dtype)
    calls = []
    backbone.vlm.language_model.encoder.register_forward_hook(lambda *_: calls.append(1))
    features, state = backbone.encode_frames(preprocess(frames, backbone.specs[0].image))
    found = backbone.encode_queries(state, WORDS)
    assert (len(calls), sorted(features), sorted(found)) == (1, ["r"], ["z", "z0", "z1", "z2"])
    alone = loaded(xvla, features=("z",), dtype=dtype)
    assert torch.equal(found["z"], alone.fuse(state, alone.encode_text(WORDS)))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
        words = alone.vlm.get_input_embeddings()(alone.encode_text(WORDS))
        hidden = alone.vlm.language_model.encoder(
            inputs_embeds=torch.cat([state, words], dim=1), output_hidden_states=True
        ).hidden_states
    for layer in range(3):
        assert torch.equal(found[f"z{layer}"], hidden[layer].float())
        assert not torch.equal(found[f"z{layer}"], found["z"])


def test_a_checkpoint_of_the_original_layout_gives_the_same_z(xvla, xvla_with, frames):
    """The remote-code names of the projection, as older checkpoints have them, go through LeRobot's remapping."""
    folder = xvla_with()
    weights = load_file(folder / "model.safetensors")
    projection = weights.pop("model.vlm.multi_modal_projector.image_projection.weight")
    weights["model.vlm.image_projection"] = projection.T.contiguous()
    save_file(weights, folder / "model.safetensors")
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    new, old = loaded(xvla), loaded(folder)
    assert torch.equal(new.encode_images(pixels)[0], old.encode_images(pixels)[0])


def test_a_checkpoint_saved_as_bfloat16_computes_in_fp32_when_asked(xvla_with):
    backbone = loaded(xvla_with(config={"dtype": "bfloat16"}))
    assert backbone.vlm.vision_tower.convs[0].conv.weight.dtype == torch.float32


def test_loading_and_running_leave_the_random_state_alone(xvla, frames):
    before = torch.get_rng_state()
    backbone = loaded(xvla)
    backbone.encode_images(preprocess(frames, backbone.specs[0].image))
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_is_trained_or_dropped_out(xvla, frames):
    backbone = loaded(xvla)
    assert not backbone.vlm.training
    assert not any(parameter.requires_grad for parameter in backbone.vlm.parameters())
    pixels = preprocess(frames, backbone.specs[0].image)
    assert torch.equal(backbone.encode_images(pixels)[0], backbone.encode_images(pixels)[0])


def test_instructions_change_z_and_the_image_tokens_come_before_the_text(xvla, frames):
    backbone = loaded(xvla)
    tokens, _ = backbone.encode_images(preprocess([np.zeros_like(frames[0])] * 4, backbone.specs[0].image))
    z = backbone.fuse(tokens, backbone.encode_text(WORDS))
    assert torch.equal(z[0], z[3])
    assert not torch.allclose(z[0], z[1])


@pytest.mark.parametrize("keep", [0, 1000, -1])
def test_cut_weights_are_a_named_error(xvla_with, keep):
    folder = xvla_with()
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:keep])
    with pytest.raises(WeightsError, match="do not fit"):
        loaded(folder)


def test_weights_of_another_size_are_a_named_error(xvla_with):
    folder = xvla_with()
    weights = load_file(folder / "model.safetensors")
    weights["model.extra"] = torch.zeros(1)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(WeightsError, match="do not fit") as caught:
        loaded(folder)
    assert "extra" in str(caught.value.found)
