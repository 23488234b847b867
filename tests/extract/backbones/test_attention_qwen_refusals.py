import pytest
from qwen_toys import LAYERS, declared, loaded
from safetensors.torch import load_file, save_file

from visual_thought.pipeline.errors import ConfigError, WeightsError
from visual_thought.pipeline.spec import differences

pytestmark = pytest.mark.usefixtures("quiet_transformers")


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
def test_everything_that_changes_the_numbers_changes_the_fingerprint(qwen_vl, given, field):
    for spec, other in zip(declared(qwen_vl)[:4], declared(qwen_vl, **given)[:4], strict=True):
        assert [line.split(":")[0] for line in differences(other.compute, spec.compute)] == [field]


def test_other_weights_or_another_network_are_another_feature(qwen_vl, changed_qwen):
    folder = changed_qwen(lambda config: config["text_config"].update(rms_norm_eps=1e-6))
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    lines = differences(declared(folder)[0].compute, declared(qwen_vl)[0].compute)
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
def test_what_cannot_be_meant_is_refused(qwen_vl, given, words):
    with pytest.raises(ConfigError) as caught:
        declared(qwen_vl, **given)
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
def test_another_kind_of_checkpoint_is_one_named_error(changed_qwen, edit, words):
    folder = changed_qwen(lambda config: (config if "model_type" in edit else config["text_config"]).update(edit))
    with pytest.raises(WeightsError, match=words):
        declared(folder)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(changed_qwen, name):
    folder = changed_qwen()
    (folder / name).unlink()
    with pytest.raises(WeightsError) as caught:
        declared(folder)
    assert name in str(caught.value)


def test_weights_that_do_not_fit_are_one_named_error(changed_qwen):
    folder = changed_qwen()
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


def test_a_tokenizer_of_another_model_is_one_named_error(changed_qwen):
    folder = changed_qwen(lambda config: config.update(image_token_id=5))
    with pytest.raises(WeightsError, match="does not belong to this model"):
        loaded(folder)
