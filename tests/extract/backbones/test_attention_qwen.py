import json
from subprocess import run
from sys import executable

import numpy as np
import pytest
import torch
from qwen_toys import ALL, HEADS, KEY_HEADS, LAYERS, SIZE, TEXT, WIDTH, WORDS, declared, loaded
from safetensors.torch import load_file, save_file

from visual_thought.extract.backbones import attention_qwen_config as qwen
from visual_thought.extract.backbones.attention_qwen import describe, to_patches
from visual_thought.extract.backbones.attention_qwen_spec import PROMPT
from visual_thought.extract.preprocess import preprocess
from visual_thought.pipeline.errors import ConfigError, WeightsError
from visual_thought.pipeline.spec import FeatureSpec, TokenLayout, differences

pytestmark = pytest.mark.usefixtures("quiet_transformers")


@pytest.fixture(scope="module")
def native(qwen_vl):
    """transformers' own forward with eager attention over its own processor's prompt: weights of every layer."""
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

    images, tokenizer = Qwen2VLImageProcessor.from_pretrained(qwen_vl), AutoTokenizer.from_pretrained(qwen_vl)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(qwen_vl, attn_implementation="eager").eval()

    @torch.no_grad()
    def forward(frame, words):
        inputs = images(images=[frame], do_resize=False, return_tensors="pt")
        cells = int(inputs["image_grid_thw"].prod()) // 4
        prompt = PROMPT.format(instruction=words).replace("<|image_pad|>", "<|image_pad|>" * cells)
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        kinds = (ids == model.config.image_token_id).int()
        out = model(input_ids=ids, mm_token_type_ids=kinds, output_attentions=True, **inputs)
        return ids[0], kinds[0].bool(), torch.stack(out.attentions, dim=1)[0]

    return forward


@pytest.fixture
def pictures():
    """Four frames that are network inputs already."""
    return [np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8) for seed in range(4)]


def states_of(backbone, frames, words=WORDS):
    features, state = backbone.encode_frames(preprocess(frames, backbone.specs[0].image))
    assert features == {}
    return backbone.encode_queries(state, words)


def test_attention_states_are_declared_from_the_files_alone(qwen_vl):
    q, k, v, s, w = declared(qwen_vl)
    assert q.shape == (LAYERS, HEADS, TEXT, WIDTH)
    assert k.shape == v.shape == (LAYERS, KEY_HEADS, 3 * 4, WIDTH)
    assert s.shape == (LAYERS, HEADS, TEXT)
    assert w.shape == (TEXT,)
    assert k.layout == v.layout == TokenLayout(grid=(3, 4))
    assert q.layout == s.layout == w.layout == TokenLayout(grid=(0, 0), text=TEXT)
    assert (q.compute["heads"], k.compute["heads"], k.compute["group"]) == ([0, 1, 2, 3], [0, 1], 2)
    assert (q.compute["prompt"], q.compute["rotary"]) == (PROMPT, "after")
    assert FeatureSpec.from_json(json.loads(json.dumps(k.to_json()))).fingerprint == k.fingerprint
    assert len({spec.fingerprint for spec in (q, k, v, s, w)}) == 5


def test_describing_imports_no_torch(qwen_vl):
    code = (
        "import sys; from visual_thought.extract.backbones.attention_qwen_spec import describe;"
        "describe(sys.argv[1]); assert not {'torch', 'transformers', 'lerobot'} & set(sys.modules)"
    )
    run([executable, "-c", code, str(qwen_vl)], check=True, timeout=60)


def test_the_models_own_attention_comes_back_from_q_k_and_s(qwen_vl, native, pictures):
    """Against transformers' forward with eager attention, of each query alone: within 1e-5 of every weight."""
    backbone = loaded(qwen_vl)
    made = states_of(backbone, pictures)
    groups = [head // 2 for head in range(HEADS)]
    scores = made["q"] @ made["k"][:, :, groups].transpose(-1, -2) / WIDTH**0.5
    attention = made["s"][..., None] * scores.softmax(dim=-1)
    for at, (frame, words) in enumerate(zip(pictures, WORDS, strict=True)):
        ids, image, weights = native(frame, words)
        first = int(image.nonzero().max()) + 1
        real = len(ids) - first
        assert backbone.encode_text(words)[0][:real] == ids[first:].tolist()
        assert made["w"][at].tolist()[real:] == [0] * (TEXT - real)
        torch.testing.assert_close(attention[at, :, :, :real], weights[:, :, first:][..., image], rtol=0, atol=1e-5)
    assert 0.05 < made["s"].mean() < 0.95


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_layers_attend_with_exactly_these_states(qwen_vl, pictures, dtype):
    """What the layers hand to their attention function, recorded through transformers' own registration."""
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    calls = []

    def recording(module, query, key, value, mask, **kwargs):
        calls.append((query, key, value))
        return sdpa_attention_forward(module, query, key, value, mask, **kwargs)

    AttentionInterface.register("recording", recording)
    backbone = loaded(qwen_vl, dtype=dtype)
    expected = states_of(backbone, pictures)
    backbone.model.config.text_config._attn_implementation = "recording"
    made = states_of(backbone, pictures)
    query, key, value = (torch.stack(values, dim=1).float() for values in zip(*calls, strict=True))
    text, start = query.shape[3] - TEXT, query.shape[3] - TEXT - 12
    assert torch.equal(made["q"], query[..., text:, :])
    assert torch.equal(made["k"], key[..., start:text, :])
    assert torch.equal(made["v"], value[..., start:text, :])
    for spec in backbone.specs:
        assert made[spec.name].shape[1:] == spec.shape
        assert made[spec.name].dtype == torch.float32
        torch.testing.assert_close(made[spec.name], expected[spec.name])


def test_frames_become_the_patches_of_transformers_own_processor(qwen_vl, pictures):
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

    processor = Qwen2VLImageProcessor.from_pretrained(qwen_vl)
    theirs = processor(images=pictures, do_resize=False, return_tensors="pt")["pixel_values"]
    backbone = loaded(qwen_vl)
    ours = to_patches(preprocess(pictures, backbone.specs[0].image), backbone.model.config.vision_config)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("frame", [(480, 640), (720, 1280), (28, 28), (20, 50), (4000, 6000), (200, 3000), (98, 70)])
def test_the_input_size_follows_the_frames_as_transformers_does(qwen_vl, frame):
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    config = qwen.read_config(str(qwen_vl))
    assert qwen.fitted_size(frame, config) == smart_resize(*frame, 28, *config.pixels)
    image = describe(str(qwen_vl), frame_size=frame)[0].image
    assert (image.height, image.width) == smart_resize(*frame, 28, *config.pixels)


def test_an_image_of_a_common_camera_has_391_cells(qwen_vl):
    k = describe(str(qwen_vl), features=("k",), frame_size=(480, 640))[0]
    assert k.layout == TokenLayout(grid=(17, 23))


def test_the_defaults_are_those_of_transformers():
    from transformers import Qwen2_5_VLConfig
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

    config, images = Qwen2_5_VLConfig(), Qwen2VLImageProcessor
    vision = {key: getattr(config.vision_config, key) for key in qwen.VISION_DEFAULTS}
    assert {key: list(value) if isinstance(value, tuple) else value for key, value in vision.items()} == dict(
        qwen.VISION_DEFAULTS
    )
    assert {key: getattr(config.text_config, key) for key in qwen.LANGUAGE_DEFAULTS} == dict(qwen.LANGUAGE_DEFAULTS)
    assert (tuple(images.image_mean), tuple(images.image_std)) == (qwen.MEAN, qwen.STD)
    assert (images.size["shortest_edge"], images.size["longest_edge"]) == qwen.PIXELS
    assert config.text_config.rope_parameters["rope_theta"] == qwen.ROPE_THETA


def test_the_published_flat_layout_of_config_json_is_the_same_feature(qwen_vl, changed_qwen):
    def flatten(config):
        text = config.pop("text_config")
        rope = text.pop("rope_parameters")
        config.update({key: value for key, value in text.items() if key not in ("model_type", "layer_types")})
        config["rope_theta"] = rope["rope_theta"]
        config["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}

    folder = changed_qwen(flatten)
    images = json.loads((folder / "preprocessor_config.json").read_text())
    size = images.pop("size")
    images |= {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    assert declared(folder) == declared(qwen_vl)
    assert qwen.read_config(str(folder)) == qwen.read_config(str(qwen_vl))
    assert loaded(folder).model.config.text_config.rope_parameters["rope_theta"] == 1e4


def test_sharded_weights_are_all_hashed_and_load_alike(qwen_vl, changed_qwen, pictures):
    folder = changed_qwen()
    weights = load_file(folder / "model.safetensors")
    names, shards = sorted(weights), {}
    for at, name in enumerate(names):
        shards[name] = f"model-0000{1 + (2 * at >= len(names))}-of-00002.safetensors"
    for file in set(shards.values()):
        part = {name: weights[name] for name in names if shards[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": shards}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert sorted(declared(folder)[0].compute["weights"]) == sorted(set(shards.values()))
    ours, whole = states_of(loaded(folder), pictures), states_of(loaded(qwen_vl), pictures)
    assert all(torch.equal(ours[name], whole[name]) for name in ALL)
    index["weight_map"][names[0]] = "../elsewhere.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="cannot be used"):
        declared(folder)


def test_chosen_layers_and_heads_are_slices_of_all(qwen_vl, pictures):
    some = loaded(qwen_vl, layers=[1], heads=[3])
    full, cut = states_of(loaded(qwen_vl), pictures), states_of(some, pictures)
    for name in "qs":
        assert torch.equal(cut[name], full[name][:, 1:2, 3:])
    for name in "kv":
        assert torch.equal(cut[name], full[name][:, 1:2, 1:])
    assert some.specs[1].compute["heads"] == [1]
    assert len(some.model.language_model.layers) == 2


def test_heads_that_read_the_same_keys_share_them(qwen_vl):
    one, other = declared(qwen_vl, heads=[0]), declared(qwen_vl, heads=[1])
    assert one[0].fingerprint != other[0].fingerprint
    assert one[1].fingerprint == other[1].fingerprint


@pytest.mark.parametrize("features", [("q",), ("v", "k"), ("s",), ("w",)])
def test_a_feature_alone_is_the_same_as_beside_the_others(qwen_vl, pictures, features):
    alone, beside = states_of(loaded(qwen_vl, features), pictures), states_of(loaded(qwen_vl), pictures)
    assert tuple(alone) == features
    for name in features:
        assert torch.equal(alone[name], beside[name])


def test_w_tells_the_instruction_from_the_template_and_padding(qwen_vl, pictures):
    backbone = loaded(qwen_vl)
    w = states_of(backbone, pictures)["w"]
    for kinds, words in zip(w.tolist(), WORDS, strict=True):
        tokens = backbone.tokenizer(words, add_special_tokens=False)["input_ids"]
        assert kinds.count(2) == len(tokens)
        assert kinds[: 1 + len(tokens)] == [1] + [2] * len(tokens)  # behind <|vision_end|>
        assert sorted(kinds[1 + len(tokens) :], reverse=True) == kinds[1 + len(tokens) :]


def test_padding_changes_nothing_that_is_real(qwen_vl, pictures):
    short, long = states_of(loaded(qwen_vl), pictures), states_of(loaded(qwen_vl, text_length=40), pictures)
    real = short["w"] > 0
    q, longer = (made["q"].permute(0, 3, 1, 2, 4) for made in (short, long))
    torch.testing.assert_close(q[real], longer[:, :TEXT][real], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(short["k"], long["k"], rtol=1e-5, atol=1e-5)


def test_an_image_before_its_instruction_does_not_know_it(qwen_vl, pictures):
    made = states_of(loaded(qwen_vl), [pictures[0]] * 4)
    torch.testing.assert_close(made["k"][0], made["k"][1], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(made["q"][0], made["q"][1])


def test_another_prompt_is_another_feature_and_its_words_are_not_the_instructions(qwen_vl, pictures):
    prompt = "<|vision_start|><|image_pad|><|vision_end|>Where is the part of {instruction}<|im_end|>"
    backbone = loaded(qwen_vl, prompt=prompt)
    for spec, other in zip(backbone.specs, declared(qwen_vl), strict=True):
        assert [line.split(":")[0] for line in differences(other.compute, spec.compute)] == ["prompt"]
    lead = backbone.tokenizer("<|vision_end|>Where is the part of ", add_special_tokens=False)["input_ids"]
    kinds = states_of(backbone, pictures)["w"][0].tolist()
    assert kinds[: len(lead) + 1] == [1] * len(lead) + [2]


def test_an_instruction_that_spells_a_special_token_is_words(qwen_vl, pictures):
    backbone = loaded(qwen_vl, text_length=64)
    made = states_of(backbone, pictures, ["a <|image_pad|> b", *WORDS[1:]])
    assert made["k"].shape[1:] == backbone.specs[1].shape
    ids, _ = backbone.encode_text("a <|image_pad|> b")
    assert backbone.model.config.image_token_id not in ids


def test_an_instruction_that_does_not_fit_is_refused_with_the_length_that_does(qwen_vl, pictures):
    with pytest.raises(ConfigError, match="longer than the text positions") as caught:
        states_of(loaded(qwen_vl, text_length=8), pictures)
    assert "text_length" in str(caught.value.remedy)
    needed = int(str(caught.value.remedy).split("text_length ")[1].split(",")[0])
    assert states_of(loaded(qwen_vl, text_length=needed), pictures, [WORDS[0]] * 4)["w"].shape == (4, needed)


def test_the_same_call_gives_the_same_numbers_and_leaves_the_random_state_alone(qwen_vl, pictures):
    before = torch.get_rng_state()
    backbone = loaded(qwen_vl)
    first, second = states_of(backbone, pictures), states_of(backbone, pictures)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in ALL)
    assert not backbone.model.training
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())


def test_bf16_stays_close_to_fp32(qwen_vl, pictures):
    exact, half = (states_of(loaded(qwen_vl, dtype=dtype), pictures) for dtype in ("fp32", "bf16"))
    for name in "qkvs":
        assert torch.linalg.norm(half[name] - exact[name]) < 0.05 * torch.linalg.norm(exact[name])
    assert torch.equal(half["w"], exact["w"])
