import json
import shutil
import warnings
from pathlib import Path
from subprocess import run
from sys import executable

import numpy as np
import pytest
import torch
from qwen_toys import HEADS, KEY_HEADS, LAYERS, WIDTH, WORDS
from safetensors.torch import load_file, save_file

from visual_thought.extract.backbones import attention_qwen_config as qwen
from visual_thought.extract.backbones.attention_qwen import describe, load, to_patches
from visual_thought.extract.backbones.attention_qwen_spec import PROMPT
from visual_thought.extract.preprocess import preprocess
from visual_thought.pipeline.errors import ConfigError, WeightsError
from visual_thought.pipeline.spec import FeatureSpec, TokenLayout, differences

CPU = torch.device("cpu")
ALL = ("q", "k", "v", "s", "w")
TEXT = 24
SIZE = (84, 112)  # 3 x 4 cells: more than one window of 2 x 2 cells


@pytest.fixture(scope="module")
def checkpoint(qwen_vl) -> Path:
    return qwen_vl


@pytest.fixture
def changed(checkpoint, tmp_path):
    """Copies of the checkpoint with an edited config.json: ``changed(lambda config: …)``."""

    def make(edit=lambda config: None) -> Path:
        folder = tmp_path / "changed-qwen"
        shutil.copytree(checkpoint, folder)
        config = json.loads((folder / "config.json").read_text())
        edit(config)
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return make


@pytest.fixture(scope="module")
def native(checkpoint):
    """transformers' own forward with eager attention over its own processor's prompt: weights of every layer."""
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

    images, tokenizer = Qwen2VLImageProcessor.from_pretrained(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(checkpoint, attn_implementation="eager").eval()

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


def declared(folder, features=ALL, *, dtype="fp32", size=SIZE, **options):
    options = {"text_length": TEXT} | options
    return describe(str(folder), features=features, dtype=dtype, image_size=size, options=options)


def loaded(folder, features=ALL, **given):
    return load(str(folder), declared(folder, features, **given), device=CPU)


def states_of(backbone, frames, words=WORDS):
    features, state = backbone.encode_frames(preprocess(frames, backbone.specs[0].image))
    assert features == {}
    return backbone.encode_queries(state, words)


def test_attention_states_are_declared_from_the_files_alone(checkpoint):
    q, k, v, s, w = declared(checkpoint)
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


def test_describing_imports_no_torch(checkpoint):
    code = (
        "import sys; from visual_thought.extract.backbones.attention_qwen_spec import describe;"
        "describe(sys.argv[1]); assert not {'torch', 'transformers', 'lerobot'} & set(sys.modules)"
    )
    run([executable, "-c", code, str(checkpoint)], check=True, timeout=60)


def test_the_models_own_attention_comes_back_from_q_k_and_s(checkpoint, native, pictures):
    """Against transformers' forward with eager attention, of each query alone: within 1e-5 of every weight."""
    backbone = loaded(checkpoint)
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
def test_the_layers_attend_with_exactly_these_states(checkpoint, pictures, dtype):
    """What the layers hand to their attention function, recorded through transformers' own registration."""
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    calls = []

    def recording(module, query, key, value, mask, **kwargs):
        calls.append((query, key, value))
        return sdpa_attention_forward(module, query, key, value, mask, **kwargs)

    AttentionInterface.register("recording", recording)
    backbone = loaded(checkpoint, dtype=dtype)
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


def test_frames_become_the_patches_of_transformers_own_processor(checkpoint, pictures):
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

    processor = Qwen2VLImageProcessor.from_pretrained(checkpoint)
    theirs = processor(images=pictures, do_resize=False, return_tensors="pt")["pixel_values"]
    backbone = loaded(checkpoint)
    ours = to_patches(preprocess(pictures, backbone.specs[0].image), backbone.model.config.vision_config)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("frame", [(480, 640), (720, 1280), (28, 28), (20, 50), (4000, 6000), (200, 3000), (98, 70)])
def test_the_input_size_follows_the_frames_as_transformers_does(checkpoint, frame):
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    config = qwen.read_config(str(checkpoint))
    assert qwen.fitted_size(frame, config) == smart_resize(*frame, 28, *config.pixels)
    image = describe(str(checkpoint), frame_size=frame)[0].image
    assert (image.height, image.width) == smart_resize(*frame, 28, *config.pixels)


def test_an_image_of_a_common_camera_has_391_cells(checkpoint):
    k = describe(str(checkpoint), features=("k",), frame_size=(480, 640))[0]
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


def test_the_published_flat_layout_of_config_json_is_the_same_feature(checkpoint, changed):
    def flatten(config):
        text = config.pop("text_config")
        rope = text.pop("rope_parameters")
        config.update({key: value for key, value in text.items() if key not in ("model_type", "layer_types")})
        config["rope_theta"] = rope["rope_theta"]
        config["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}

    folder = changed(flatten)
    images = json.loads((folder / "preprocessor_config.json").read_text())
    size = images.pop("size")
    images |= {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    assert declared(folder) == declared(checkpoint)
    assert qwen.read_config(str(folder)) == qwen.read_config(str(checkpoint))
    assert loaded(folder).model.config.text_config.rope_parameters["rope_theta"] == 1e4


def test_sharded_weights_are_all_hashed_and_load_alike(checkpoint, changed, pictures):
    folder = changed()
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
    ours, whole = states_of(loaded(folder), pictures), states_of(loaded(checkpoint), pictures)
    assert all(torch.equal(ours[name], whole[name]) for name in ALL)
    index["weight_map"][names[0]] = "../elsewhere.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="cannot be used"):
        declared(folder)


def test_chosen_layers_and_heads_are_slices_of_all(checkpoint, pictures):
    some = loaded(checkpoint, layers=[1], heads=[3])
    full, cut = states_of(loaded(checkpoint), pictures), states_of(some, pictures)
    for name in "qs":
        assert torch.equal(cut[name], full[name][:, 1:2, 3:])
    for name in "kv":
        assert torch.equal(cut[name], full[name][:, 1:2, 1:])
    assert some.specs[1].compute["heads"] == [1]
    assert len(some.model.language_model.layers) == 2


def test_heads_that_read_the_same_keys_share_them(checkpoint):
    one, other = declared(checkpoint, heads=[0]), declared(checkpoint, heads=[1])
    assert one[0].fingerprint != other[0].fingerprint
    assert one[1].fingerprint == other[1].fingerprint


@pytest.mark.parametrize("features", [("q",), ("v", "k"), ("s",), ("w",)])
def test_a_feature_alone_is_the_same_as_beside_the_others(checkpoint, pictures, features):
    alone, beside = states_of(loaded(checkpoint, features), pictures), states_of(loaded(checkpoint), pictures)
    assert tuple(alone) == features
    for name in features:
        assert torch.equal(alone[name], beside[name])


def test_w_tells_the_instruction_from_the_template_and_padding(checkpoint, pictures):
    backbone = loaded(checkpoint)
    w = states_of(backbone, pictures)["w"]
    for kinds, words in zip(w.tolist(), WORDS, strict=True):
        tokens = backbone.tokenizer(words, add_special_tokens=False)["input_ids"]
        assert kinds.count(2) == len(tokens)
        assert kinds[: 1 + len(tokens)] == [1] + [2] * len(tokens)  # behind <|vision_end|>
        assert sorted(kinds[1 + len(tokens) :], reverse=True) == kinds[1 + len(tokens) :]


def test_padding_changes_nothing_that_is_real(checkpoint, pictures):
    short, long = states_of(loaded(checkpoint), pictures), states_of(loaded(checkpoint, text_length=40), pictures)
    real = short["w"] > 0
    q, longer = (made["q"].permute(0, 3, 1, 2, 4) for made in (short, long))
    torch.testing.assert_close(q[real], longer[:, :TEXT][real], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(short["k"], long["k"], rtol=1e-5, atol=1e-5)


def test_an_image_before_its_instruction_does_not_know_it(checkpoint, pictures):
    made = states_of(loaded(checkpoint), [pictures[0]] * 4)
    torch.testing.assert_close(made["k"][0], made["k"][1], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(made["q"][0], made["q"][1])


def test_another_prompt_is_another_feature_and_its_words_are_not_the_instructions(checkpoint, pictures):
    prompt = "<|vision_start|><|image_pad|><|vision_end|>Where is the part of {instruction}<|im_end|>"
    backbone = loaded(checkpoint, prompt=prompt)
    for spec, other in zip(backbone.specs, declared(checkpoint), strict=True):
        assert [line.split(":")[0] for line in differences(other.compute, spec.compute)] == ["prompt"]
    lead = backbone.tokenizer("<|vision_end|>Where is the part of ", add_special_tokens=False)["input_ids"]
    kinds = states_of(backbone, pictures)["w"][0].tolist()
    assert kinds[: len(lead) + 1] == [1] * len(lead) + [2]


def test_an_instruction_that_spells_a_special_token_is_words(checkpoint, pictures):
    backbone = loaded(checkpoint, text_length=64)
    made = states_of(backbone, pictures, ["a <|image_pad|> b", *WORDS[1:]])
    assert made["k"].shape[1:] == backbone.specs[1].shape
    ids, _ = backbone.encode_text("a <|image_pad|> b")
    assert backbone.model.config.image_token_id not in ids


def test_an_instruction_that_does_not_fit_is_refused_with_the_length_that_does(checkpoint, pictures):
    with pytest.raises(ConfigError, match="longer than the text positions") as caught:
        states_of(loaded(checkpoint, text_length=8), pictures)
    assert "text_length" in str(caught.value.remedy)
    needed = int(str(caught.value.remedy).split("text_length ")[1].split(",")[0])
    assert states_of(loaded(checkpoint, text_length=needed), pictures, [WORDS[0]] * 4)["w"].shape == (4, needed)


def test_the_same_call_gives_the_same_numbers_and_leaves_the_random_state_alone(checkpoint, pictures):
    before = torch.get_rng_state()
    backbone = loaded(checkpoint)
    first, second = states_of(backbone, pictures), states_of(backbone, pictures)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in ALL)
    assert not backbone.model.training
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())


def test_bf16_stays_close_to_fp32(checkpoint, pictures):
    exact, half = (states_of(loaded(checkpoint, dtype=dtype), pictures) for dtype in ("fp32", "bf16"))
    for name in "qkvs":
        assert torch.linalg.norm(half[name] - exact[name]) < 0.05 * torch.linalg.norm(exact[name])
    assert torch.equal(half["w"], exact["w"])


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"layers": [1]}, "layers"),
        ({"heads": [2]}, "heads"),
        ({"text_length": 25}, "text.max_length"),
        ({"dtype": "bf16"}, "dtype"),
        ({"size": (84, 84)}, "image.width"),
    ],
)
def test_everything_that_changes_the_numbers_changes_the_fingerprint(checkpoint, given, field):
    for spec, other in zip(declared(checkpoint)[:4], declared(checkpoint, **given)[:4], strict=True):
        assert [line.split(":")[0] for line in differences(other.compute, spec.compute)] == [field]


def test_other_weights_or_another_network_are_another_feature(checkpoint, changed):
    folder = changed(lambda config: config["text_config"].update(rms_norm_eps=1e-6))
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    lines = differences(declared(folder)[0].compute, declared(checkpoint)[0].compute)
    assert [line.split(":")[0] for line in lines] == ["language.rms_norm_eps", "weights.model.safetensors"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"layers": [LAYERS]}, "from 0 to 2"),
        ({"heads": []}, "from 0 to 3"),
        ({"text_length": 0}, "positive"),
        ({"text_length": "long"}, "positive"),
        ({"prompt": "{instruction}<|image_pad|>"}, "behind it"),
        ({"prompt": "<|image_pad|>"}, "behind it"),
        ({"prompt": 3}, "no text"),
        ({"size": (84, 100)}, "multiples of 28"),
        ({"propmt": "x"}, "did you mean 'prompt'"),
    ],
)
def test_what_cannot_be_meant_is_refused(checkpoint, given, words):
    with pytest.raises(ConfigError) as caught:
        declared(checkpoint, **given)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"model_type": "llava"}, "is not a Qwen2.5-VL"),
        ({"num_attention_heads": 7}, "describes no attention"),
        ({"use_sliding_window": True}, "describes no attention"),
        ({"rope_parameters": {}}, "describes no attention"),
    ],
)
def test_another_kind_of_checkpoint_is_one_named_error(changed, edit, words):
    folder = changed(lambda config: (config if "model_type" in edit else config["text_config"]).update(edit))
    with pytest.raises(WeightsError, match=words):
        declared(folder)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(changed, name):
    folder = changed()
    (folder / name).unlink()
    with pytest.raises(WeightsError) as caught:
        declared(folder)
    assert name in str(caught.value)


def test_weights_that_do_not_fit_are_one_named_error(changed):
    folder = changed()
    weights = {name: value.clone() for name, value in load_file(folder / "model.safetensors").items()}
    for cut in (b"", (folder / "model.safetensors").read_bytes()[:1000]):
        (folder / "model.safetensors").write_bytes(cut)
        with pytest.raises(WeightsError, match="do not fit"):
            loaded(folder)
    gone = next(name for name in sorted(weights) if "q_proj.weight" in name)
    save_file({name: value for name, value in weights.items() if name != gone}, folder / "model.safetensors")
    with pytest.raises(WeightsError, match="do not fit") as caught:
        loaded(folder)
    assert "q_proj.weight" in str(caught.value.found)


def test_a_tokenizer_of_another_model_is_one_named_error(changed):
    folder = changed(lambda config: config.update(image_token_id=5))
    with pytest.raises(WeightsError, match="does not belong to this model"):
        loaded(folder)


@pytest.fixture(scope="module", autouse=True)
def quiet_import():
    """transformers' dependencies warn while they are imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchvision  # noqa: F401
        from transformers import Qwen2_5_VLForConditionalGeneration  # noqa: F401
