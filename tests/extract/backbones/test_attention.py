import json
from subprocess import run
from sys import executable

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from visual_thought.extract.backbones.attention import Projections, image_share, stack, watch
from visual_thought.extract.backbones.attention_spec import OPTIONS, choose
from visual_thought.extract.backbones.attention_xvla import XVLA_ATTENTION, describe, load
from visual_thought.extract.backbones.options import read_options
from visual_thought.extract.preprocess import preprocess
from visual_thought.extract.run import extract
from visual_thought.pipeline.errors import ConfigError, WeightsError
from visual_thought.pipeline.spec import FeatureSpec, TokenLayout, differences
from visual_thought.pipeline.store import FeatureStore

CPU = torch.device("cpu")
WORDS = ["pick up the orange cube", "put it into the white box", "", "pick up the orange cube"]
ALL = ("q", "k", "v", "s", "w")
LAYERS, HEADS, WIDTH, TEXT = 3, 6, 16, 16  # of the embedded X-VLA


def declared(folder, features=ALL, *, dtype="fp32", size=(64, 64), **options):
    return describe(str(folder), features=features, dtype=dtype, image_size=size, options=options)


def loaded(folder, features=ALL, **given):
    return load(str(folder), declared(folder, features, **given), device=CPU)


def states_of(backbone, frames, words=WORDS):
    features, state = backbone.encode_frames(preprocess(frames, backbone.specs[0].image))
    assert features == {}
    return backbone.encode_queries(state, words)


@pytest.fixture(scope="module")
def native(xvla):
    """LeRobot's own forward_vlm: what every encoder layer hands to its attention function, and what comes back."""
    from lerobot.policies.xvla.modeling_xvla import XVLAPolicy
    from transformers import AttentionInterface, AutoTokenizer
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.models.bart.modeling_bart import eager_attention_forward

    policy = XVLAPolicy.from_pretrained(xvla).eval()
    tokenizer, calls = AutoTokenizer.from_pretrained(xvla), []

    def recording(module, query, key, value, mask, **kwargs):
        _, weights = eager_attention_forward(module, query, key, value, mask, **kwargs)
        calls.append((query, key, value, weights))
        return sdpa_attention_forward(module, query, key, value, mask, **kwargs)

    AttentionInterface.register("recording", recording)

    @torch.no_grad()
    def forward(pixels, words):
        calls.clear()
        encoded = tokenizer(words, max_length=TEXT, padding="max_length", truncation=True, return_tensors="pt")
        encoder = policy.model.vlm.language_model.encoder
        encoder.config._attn_implementation = "recording"
        policy.model.forward_vlm(encoded["input_ids"], pixels[:, None], torch.ones(len(words), 1))
        return [torch.stack(values, dim=1) for values in zip(*calls, strict=True)]

    return forward


def test_attention_states_are_declared_from_the_files_alone(xvla):
    q, k, v, s, w = declared(xvla, size=None)
    assert q.shape == (LAYERS, HEADS, TEXT, WIDTH)
    assert k.shape == v.shape == (LAYERS, HEADS, 1 + 49, WIDTH)
    assert s.shape == (LAYERS, HEADS, TEXT)
    assert w.shape == (TEXT,)
    assert k.layout == v.layout == TokenLayout(grid=(7, 7), prefix=1)
    assert q.layout == s.layout == w.layout == TokenLayout(grid=(0, 0), text=TEXT)
    assert {spec.per for spec in (q, k, v, s, w)} == {"query"}
    assert (q.compute["layers"], q.compute["heads"]) == ([0, 1, 2], [0, 1, 2, 3, 4, 5])
    assert FeatureSpec.from_json(json.loads(json.dumps(q.to_json()))).fingerprint == q.fingerprint
    assert len({spec.fingerprint for spec in (q, k, v, s, w)}) == 5


def test_describing_imports_no_torch(xvla):
    code = (
        "import sys; from visual_thought.extract.backbones.attention_xvla_spec import describe;"
        "describe(sys.argv[1]); assert not {'torch', 'transformers', 'lerobot'} & set(sys.modules)"
    )
    run([executable, "-c", code, str(xvla)], check=True, timeout=60)


@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
def test_q_k_and_v_are_what_lerobots_own_layers_attend_with(xvla, native, frames, size):
    backbone = loaded(xvla, size=size)
    made = states_of(backbone, frames)
    query, key, value, _ = native(preprocess(frames, backbone.specs[0].image), WORDS)
    image = backbone.specs[1].shape[2]
    assert torch.equal(made["q"], query[..., image:, :])
    assert torch.equal(made["k"], key[..., :image, :])
    assert torch.equal(made["v"], value[..., :image, :])
    for spec in backbone.specs:
        assert made[spec.name].shape[1:] == spec.shape
        assert made[spec.name].dtype == torch.float32


def test_the_layers_own_attention_comes_back_from_q_k_and_s(xvla, native, frames):
    backbone = loaded(xvla)
    made = states_of(backbone, frames)
    *_, weights = native(preprocess(frames, backbone.specs[0].image), WORDS)
    image = backbone.specs[1].shape[2]
    scores = made["q"] @ made["k"].transpose(-1, -2) / WIDTH**0.5
    attention = made["s"][..., None] * scores.softmax(dim=-1)
    assert 0.05 < made["s"].mean() < 0.95
    torch.testing.assert_close(attention, weights[..., image:, :image], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_layers_output_is_computed_from_the_projections_that_are_read(xvla, frames, dtype):
    network = loaded(xvla, dtype=dtype)._network
    attentions = [layer.self_attn for layer in network.vlm.language_model.encoder.layers]
    outputs = []
    for attention in attentions:
        attention.register_forward_hook(lambda _module, _inputs, output: outputs.append(output[0]))
    tokens = network.encode_frames(preprocess(frames, network.specs[0].image)).state
    with watch(attentions, lambda layer, _arguments: layer._asdict()) as layers:
        network.fuse(tokens, network.encode_text(WORDS))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
        for attention, layer, output in zip(attentions, layers, outputs, strict=True):
            mixed = torch.nn.functional.scaled_dot_product_attention(**_named(Projections(**layer)))
            assert torch.equal(attention.out_proj(mixed.transpose(1, 2).flatten(2)), output)


def test_bf16_stays_close_to_fp32(xvla, frames):
    exact, half = (states_of(loaded(xvla, dtype=dtype), frames) for dtype in ("fp32", "bf16"))
    for name in "qkvs":
        assert torch.linalg.norm(half[name] - exact[name]) < 0.03 * torch.linalg.norm(exact[name])
    assert torch.equal(half["w"], exact["w"])


def test_chosen_layers_and_heads_are_slices_of_all(xvla, frames):
    everything, some = loaded(xvla), loaded(xvla, layers=[1, 0], heads=[5, 2])
    assert some.specs[0].shape == (2, 2, TEXT, WIDTH)
    assert some.specs[0].compute["layers"] == [0, 1]
    full, cut = states_of(everything, frames), states_of(some, frames)
    for name in "qkvs":
        assert torch.equal(cut[name], full[name][:, :2][:, :, [2, 5]])
    assert len(some._network.vlm.language_model.encoder.layers) == 2


def test_the_order_of_a_choice_is_no_other_feature(xvla):
    a, b = declared(xvla, layers=[2, 0], heads=[1, 0])[0], declared(xvla, layers=[0, 2], heads=[0, 1])[0]
    assert a.fingerprint == b.fingerprint
    every = declared(xvla, layers=list(range(LAYERS)))[0]
    assert every.fingerprint == declared(xvla, layers="all")[0].fingerprint


@pytest.mark.parametrize("features", [("q",), ("k", "q"), ("s",), ("w",)])
def test_a_feature_alone_is_the_same_as_beside_the_others(xvla, frames, features):
    alone, beside = states_of(loaded(xvla, features), frames), states_of(loaded(xvla), frames)
    assert tuple(alone) == features
    for name in features:
        assert torch.equal(alone[name], beside[name])


def test_w_tells_words_from_special_tokens_and_padding(xvla, frames):
    backbone = loaded(xvla)
    w = states_of(backbone, frames)["w"]
    ids = backbone._network.encode_text(WORDS)
    for kinds, row in zip(w.tolist(), ids.tolist(), strict=True):
        assert kinds == [{0: 1, 2: 1, 1: 0}.get(token, 2) for token in row]  # <s> 0, </s> 2, <pad> 1
    assert w[2].tolist() == [1, 1] + [0] * (TEXT - 2)


def test_what_the_text_positions_are_depends_on_the_tokenizer_alone(xvla):
    w = declared(xvla)[-1]
    assert w.fingerprint == declared(xvla, dtype="bf16", size=(96, 96), layers=[0], heads=[0])[-1].fingerprint
    assert "weights" not in w.compute


def test_the_same_call_gives_the_same_numbers_and_leaves_the_random_state_alone(xvla, frames):
    before = torch.get_rng_state()
    backbone = loaded(xvla)
    first, second = states_of(backbone, frames), states_of(backbone, frames)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in ALL)
    vlm = backbone._network.vlm
    assert not vlm.training
    assert not any(parameter.requires_grad for parameter in vlm.parameters())
    assert not any(value.requires_grad for value in first.values())


def test_hooks_are_gone_after_a_forward_that_fails(xvla, frames):
    backbone = loaded(xvla)
    with pytest.raises(RuntimeError):
        backbone.encode_queries(torch.zeros(1, 5, 7), ["too narrow"])
    hooks = [module._forward_hooks for module in backbone._network.vlm.modules()]
    assert not any(hooks)
    states_of(backbone, frames)


def test_instructions_change_keys_of_the_image_too(xvla, frames):
    made = states_of(loaded(xvla), [frames[0]] * 4)
    assert torch.equal(made["k"][0], made["k"][3])
    assert torch.equal(made["k"][0, 0], made["k"][1, 0])  # the first layer has not seen the text yet
    assert not torch.allclose(made["k"][0, 1], made["k"][1, 1])


def test_every_option_changes_the_fingerprint_and_only_its_field(xvla):
    q, k, v, s, _ = declared(xvla)
    for option, field in (({"layers": [1]}, "layers"), ({"heads": [1]}, "heads")):
        for spec, other in zip((q, k, v, s), declared(xvla, **option), strict=False):
            lines = differences(other.compute, spec.compute)
            assert [line.split(":")[0] for line in lines] == [field]
    for given, field in (({"dtype": "bf16"}, "dtype"), ({"size": (64, 96)}, "image.width")):
        lines = differences(declared(xvla, **given)[0].compute, q.compute)
        assert [line.split(":")[0] for line in lines] == [field]


def test_other_weights_are_another_feature(xvla, xvla_with):
    folder = xvla_with()
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    lines = differences(declared(folder)[0].compute, declared(xvla)[0].compute)
    assert [line.split(":")[0] for line in lines] == ["weights.model.safetensors"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": [3]}, "from 0 to 2"),
        ({"layers": [-1]}, "from 0 to 2"),
        ({"layers": []}, "from 0 to 2"),
        ({"heads": [1, 1]}, "different numbers"),
        ({"heads": [True]}, "from 0 to 5"),
        ({"heads": "some"}, "from 0 to 5"),
        ({"head": [0]}, "did you mean 'heads'"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(xvla, options, words):
    with pytest.raises(ConfigError) as caught:
        declared(xvla, **options)
    assert words in str(caught.value)


def test_one_number_is_a_choice_too():
    assert choose({"layers": 2, "heads": 0}, layers=3, heads=6, key_heads=2).layers == (2,)
    assert read_options("x", OPTIONS, {}) == dict(XVLA_ATTENTION.options)


def test_an_unknown_feature_and_another_kind_of_policy_are_refused(xvla, xvla_with):
    with pytest.raises(ConfigError, match="'z'"):
        declared(xvla, ("z",))
    with pytest.raises(WeightsError, match="not an X-VLA policy"):
        declared(xvla_with(config={"type": "act"}))


def test_weights_that_do_not_fit_are_one_named_error(xvla_with):
    folder = xvla_with()
    weights = load_file(folder / "model.safetensors")
    weights["model.extra"] = torch.zeros(1)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(WeightsError, match="do not fit"):
        loaded(folder)


@pytest.mark.parametrize("causal", [False, True])
def test_the_share_of_the_image_is_the_sum_of_its_softmax(causal):
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 3, 2, 4, generator=generator), torch.randn(2, 3, 5, 4, generator=generator)
    found = image_share(q, k, slice(1, 3), causal=causal)
    for b, h, t in np.ndindex(2, 3, 2):
        last = 5 - 2 + t if causal else 4  # the last key this text position sees
        weights = [np.exp(float(q[b, h, t] @ k[b, h, n]) / 2) for n in range(last + 1)]
        assert found[b, h, t].item() == pytest.approx(sum(weights[1:3]) / sum(weights), rel=1e-5)


def test_nothing_read_is_nothing_stacked():
    assert stack([]) == {}


def test_attention_states_go_through_the_store(config, xvla):
    done = extract(config(backbone="xvla-attention", features=("q", "k", "s", "w")))
    store = FeatureStore.open(done.store)
    keys = {stored.name: stored.key for stored in done.features}
    rows = store.index(keys["q"])
    backbone = load(str(xvla), [store.features()[key] for key in keys.values()], device=CPU)
    for spec in backbone.specs:
        assert store.read(spec.key, [0, 7]).shape == (2, *spec.shape)
    frame = np.zeros((48, 64, 3), np.uint8)
    made = states_of(backbone, [frame], rows.column("instruction").to_pylist()[:1])
    assert torch.equal(store.read(keys["w"], [0]), made["w"])  # the frame does not matter to it


def _named(layer):
    return {"query": layer.q, "key": layer.k, "value": layer.v}
