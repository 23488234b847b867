import json
from dataclasses import replace
from subprocess import run
from sys import executable

import pytest

from visual_thought.extract.backbones.xvla_spec import TEXT_DEFAULTS, VISION_DEFAULTS, describe, grid_after
from visual_thought.pipeline.errors import ConfigError, WeightsError
from visual_thought.pipeline.spec import FeatureSpec, ImageSpec, TokenLayout, differences


def test_z_and_r_are_declared_from_the_files_alone(xvla):
    z, r = describe(str(xvla), dtype="fp32")
    assert (z.name, z.per, z.shape, z.tier) == ("z", "query", (1 + 49 + 16, 96), "fp32")
    assert z.layout == TokenLayout(grid=(7, 7), prefix=1, text=16)
    assert (r.name, r.per, r.shape) == ("r", "frame", (14, 14, 96))
    assert r.layout == TokenLayout(grid=(14, 14))
    assert z.image == r.image == ImageSpec(224, 224, "squash")
    assert r.compute["backbone"] == "davit"
    assert FeatureSpec.from_json(json.loads(json.dumps(z.to_json()))).fingerprint == z.fingerprint


def test_describing_imports_no_torch(xvla):
    code = (
        "import sys; from visual_thought.extract.backbones.xvla_spec import describe;"
        "describe(sys.argv[1]); assert not {'torch', 'transformers', 'lerobot'} & set(sys.modules)"
    )
    run([executable, "-c", code, str(xvla)], check=True, timeout=60)


def test_features_keep_the_order_they_were_asked_for(xvla):
    assert [spec.name for spec in describe(str(xvla), features=("r", "z"))] == ["r", "z"]


def test_an_earlier_layer_differs_from_z_in_its_tap_alone(xvla):
    z, z1 = describe(str(xvla), features=("z", "z1"))
    assert (z1.name, z1.per, z1.shape, z1.layout) == ("z1", "query", z.shape, z.layout)
    assert [line.split(":")[0] for line in differences(z1.compute, z.compute)] == ["tap"]


@pytest.mark.parametrize("name", ["z3", "z11"])  # the tiny encoder has three layers: z is what follows the third
def test_a_layer_the_checkpoint_has_not_is_refused(xvla, name):
    with pytest.raises(ConfigError, match="no earlier layer") as caught:
        describe(str(xvla), features=(name,))
    assert "z0 to z2" in str(caught.value.expected)


def test_fingerprints_stay_what_they_were(tmp_path):
    """Stores in the labs are found by these numbers."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "tokenizer.json").write_text("{}")
    step = {"registry_name": "tokenizer_processor", "config": {"tokenizer_name": "/gone", "max_length": 50}}
    (tmp_path / "policy_preprocessor.json").write_text(json.dumps({"steps": [step]}))
    florence = {"vision_config": {"projection_dim": 1024}, "text_config": {"d_model": 1024}}
    (tmp_path / "config.json").write_text(json.dumps({"type": "xvla", "florence_config": florence}))
    z, r = describe(str(tmp_path))
    assert (z.key, r.key) == ("z-d7fcd86d", "r-377d98d4")


def test_r_is_the_same_feature_with_and_without_z(xvla):
    alone, beside = describe(str(xvla), features=("r",))[0], describe(str(xvla))[1]
    assert alone == beside
    assert alone.fingerprint == beside.fingerprint


@pytest.mark.parametrize(("size", "z_side", "r_side"), [(224, 7, 14), (256, 8, 16), (448, 14, 28), (64, 2, 4)])
def test_the_grids_follow_the_input_size(size, z_side, r_side):
    assert grid_after(VISION_DEFAULTS, 4, (size, size)) == (z_side, z_side)
    assert grid_after(VISION_DEFAULTS, 3, (size, size)) == (r_side, r_side)


def test_the_defaults_are_those_of_transformers():
    from transformers import BartConfig
    from transformers.models.florence2.configuration_florence2 import Florence2VisionConfig

    vision, text = Florence2VisionConfig(), BartConfig()
    assert {key: _plain(getattr(vision, key)) for key in VISION_DEFAULTS} == dict(VISION_DEFAULTS)
    assert {key: getattr(text, key) for key in TEXT_DEFAULTS} == dict(TEXT_DEFAULTS)


def test_the_preprocessors_text_length_wins_over_the_configs(xvla_with):
    folder = xvla_with(config={"tokenizer_max_length": 1024}, tokenizer_step={"max_length": 11})
    assert describe(str(folder))[0].layout.text == 11


def test_a_letterboxing_checkpoint_letterboxes_unless_told_otherwise(xvla_with):
    folder = str(xvla_with(config={"resize_imgs_with_padding": [96, 128]}))
    image = describe(folder)[0].image
    assert image == ImageSpec(96, 128, "letterbox")
    assert describe(folder, resize="squash")[0].image == replace(image, resize="squash")


def test_the_older_layouts_names_are_understood(xvla, xvla_with, edit_json):
    vision = json.loads((xvla / "config.json").read_text())["florence_config"]["vision_config"]
    folder = xvla_with()
    renamed = {("dim_embed" if key == "embed_dim" else key): value for key, value in vision.items()}
    renamed["image_pos_embed"] = {"type": "learned_abs_2d", "max_pos_embeddings": 50}
    edit_json(folder / "config.json", lambda data: data["florence_config"].update(vision_config=renamed))
    assert describe(str(folder))[1] == describe(str(xvla))[1]


def test_everything_that_changes_the_numbers_changes_the_fingerprint(xvla, xvla_with):
    z, r = describe(str(xvla))
    changed = {
        "dtype": describe(str(xvla), dtype="fp32"),
        "image.resize": describe(str(xvla), resize="letterbox"),
        "image.height": describe(str(xvla), image_size=(192, 224)),
    }
    for field, (other_z, other_r) in changed.items():
        for spec, other in ((z, other_z), (r, other_r)):
            assert spec.fingerprint != other.fingerprint
            assert [line.split(":")[0] for line in differences(other.compute, spec.compute)] == [field]
    folder = xvla_with(tokenizer_step={"padding_side": "left"})
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    lines = differences(describe(str(folder))[0].compute, z.compute)
    assert [line.split(":")[0] for line in lines] == ["text.padding_side", "weights.model.safetensors"]


def test_places_are_not_part_of_the_identity(xvla, xvla_with):
    assert describe(str(xvla_with()))[0].fingerprint == describe(str(xvla))[0].fingerprint


def test_a_moved_checkpoint_finds_the_tokenizer_beside_it(xvla, xvla_with):
    folder = xvla_with(tokenizer_step={"tokenizer_name": "/gone/away"})
    assert describe(str(folder))[0].fingerprint == describe(str(xvla))[0].fingerprint


def test_a_checkpoint_without_tokenizer_is_refused_for_z_alone(xvla_with):
    folder = xvla_with(
        tokenizer_step={"tokenizer_name": "/gone/away"}, without=("tokenizer.json", "tokenizer_config.json")
    )
    with pytest.raises(WeightsError, match="has no tokenizer") as caught:
        describe(str(folder))
    assert "/gone/away" in str(caught.value)
    assert "tokenizer.json" in str(caught.value.expected)
    assert describe(str(folder), features=("r",))[0].name == "r"


@pytest.mark.parametrize("name", ["config.json", "policy_preprocessor.json", "model.safetensors"])
def test_a_missing_file_is_named(xvla_with, name):
    with pytest.raises(WeightsError, match=name):
        describe(str(xvla_with(without=(name,))))


def test_a_preprocessor_without_a_fixed_length_is_refused(xvla_with):
    with pytest.raises(WeightsError, match="no fixed length"):
        describe(str(xvla_with(tokenizer_step={"padding": "longest"})))


def test_a_text_longer_than_the_models_positions_is_refused(xvla_with):
    with pytest.raises(WeightsError, match="longer than the model's positions"):
        describe(str(xvla_with(tokenizer_step={"max_length": 1024})))


def test_another_kind_of_policy_is_refused(xvla_with):
    with pytest.raises(WeightsError, match="not an X-VLA policy"):
        describe(str(xvla_with(config={"type": "act"})))


def test_an_unknown_feature_is_refused(xvla):
    with pytest.raises(ConfigError, match="'q'"):
        describe(str(xvla), features=("q",))


def test_a_directory_that_is_not_there_is_refused():
    with pytest.raises(WeightsError, match="no checkpoint directory"):
        describe("/no/such/folder")


def _plain(value):
    return list(value) if isinstance(value, tuple) else value
