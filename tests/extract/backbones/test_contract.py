"""What every registered backbone promises, tried on tiny checkpoints with random weights.

A new backbone is one more line in CASES, and a fixture that writes its checkpoint.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from visual_thought.extract.backbones import find_backbone
from visual_thought.extract.preprocess import preprocess
from visual_thought.pipeline.errors import ConfigError, WeightsError
from visual_thought.pipeline.registry import BACKBONES
from visual_thought.pipeline.spec import FeatureSpec, differences

CPU = torch.device("cpu")
TOLERANCE = 1e-5  # relative to the largest number; batches of other sizes take other paths through a matrix product
FRAME_SIZE = (48, 64)
WORDS = ["pick up the orange cube", "put it into the white box", "", "pick up the orange cube"]


class Case(NamedTuple):
    """One backbone: the fixture of its checkpoint, the features to try, and another value for each of its options."""

    backbone: str
    checkpoint: str
    features: Sequence[str]
    size: tuple[int, int]
    options: Mapping[str, Any] = {}
    tensor: str = ""
    """A weight that the features depend on."""


CASES = [
    Case("xvla", "xvla", ("z", "r", "z1"), (64, 64), {}, "model.vlm.vision_tower.convs.0.conv.weight"),
    Case("davit", "xvla", ("r",), (64, 64), {}, "model.vlm.vision_tower.convs.0.conv.weight"),
    Case(
        "dinov2",
        "dinov2_with_registers",
        ("e",),
        (56, 56),
        {"norm": "pre", "cls": True, "registers": True, "long_side": 56},
        "embeddings.cls_token",
    ),
    Case(
        "xvla-attention",
        "xvla",
        ("q", "k", "v", "s"),
        (64, 64),
        {"layers": [1], "heads": [1]},
        "model.vlm.vision_tower.convs.0.conv.weight",
    ),
    Case(
        "qwen-attention",
        "qwen_vl",
        ("q", "k", "v", "s"),
        (56, 84),
        {
            "layers": [1],
            "heads": [1],
            "text_length": 40,
            "prompt": "<|image_pad|>{instruction}",
        },
        "model.visual.patch_embed.proj.weight",
    ),
    Case("cedirnet", "cedirnet", ("y",), (64, 64), {"channels": [4, 0], "pool": 4}, "model.decoder.p5.weight"),
]

pytestmark = pytest.mark.timeout(300)  # the first import of LeRobot takes up to a minute


class Tried:
    """A case with its checkpoint and what to do with it."""

    def __init__(self, case: Case, folder: Any) -> None:
        self.case, self.folder, self.kind = case, folder, find_backbone(case.backbone)

    def describe(self, folder: Any = None, **changes: Any) -> tuple[FeatureSpec, ...]:
        settings = {"features": self.case.features, "dtype": "fp32", "resize": None, "image_size": self.case.size}
        settings |= {"frame_size": FRAME_SIZE, "options": {}, "revision": None, "hash_cache": None, "hub_cache": None}
        return self.kind.describe(str(folder or self.folder), **settings | changes)

    def load(self, folder: Any = None, **changes: Any) -> Any:
        specs = self.describe(folder, **changes)
        return self.kind.load(str(folder or self.folder), specs, device=CPU, revision=None, hub_cache=None)

    def run(self, backbone: Any, frames: Sequence[np.ndarray], words: Sequence[str] = WORDS) -> dict[str, torch.Tensor]:
        features, state = backbone.encode_frames(preprocess(frames, backbone.specs[0].image))
        more = {} if state is None else backbone.encode_queries(state, words[: len(frames)])
        return {**features, **more}

    def option(self, name: str) -> dict[str, Any]:
        """The settings that try one option's other value."""
        more = {"image_size": None} if name == "long_side" else {}
        return {"options": {name: self.case.options[name]}} | more


def networks_of(holder: Any) -> Iterator[torch.nn.Module]:
    """The networks that an object of ours holds, itself or in another one."""
    for value in vars(holder).values():
        if isinstance(value, torch.nn.Module):
            yield value
        elif type(value).__module__.startswith("visual_thought.extract") and hasattr(value, "__dict__"):
            yield from networks_of(value)


@pytest.fixture(scope="module", params=CASES, ids=[case.backbone for case in CASES])
def tried(request) -> Tried:
    return Tried(request.param, request.getfixturevalue(request.param.checkpoint))


@pytest.fixture(scope="module")
def backbone(tried) -> Any:
    return tried.load()


@pytest.fixture
def copied(tried, tmp_path) -> Any:
    return shutil.copytree(tried.folder, tmp_path / "copy")


def test_every_registered_backbone_is_tried():
    assert {case.backbone for case in CASES} == set(BACKBONES)


def test_every_option_has_another_value_to_try(tried):
    assert set(tried.case.options) == set(tried.kind.options)
    assert set(tried.case.features) <= set(tried.kind.features)


def test_its_usual_checkpoint_is_a_hub_id_if_it_has_one(tried):
    assert tried.kind.checkpoint is None or tried.kind.checkpoint.count("/") == 1


def test_features_are_declared_without_a_model_class_and_without_weights(request, tmp_path):
    code = """
import json, sys
from visual_thought.extract.backbones import find_backbone
for name, folder, settings in json.loads(sys.argv[1]):
    specs = find_backbone(name).describe(folder, **settings)
    heavy = [m for m in sys.modules if m.startswith(("lerobot", "timm")) or ".modeling_" in m or m.endswith(".network")]
    assert not heavy, (name, heavy)
    print(json.dumps([list(spec.shape) for spec in specs]))
"""
    asked, shapes = [], []
    for case in CASES:
        tried = Tried(case, request.getfixturevalue(case.checkpoint))
        shapes.append([list(spec.shape) for spec in tried.describe()])
        folder = shutil.copytree(tried.folder, tmp_path / case.backbone)
        (folder / "model.safetensors").write_bytes(b"no weights at all")
        asked.append(
            (case.backbone, str(folder), {"features": case.features, "dtype": "fp32", "image_size": case.size})
        )
    command = [sys.executable, "-c", code, json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == shapes


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_features_come_out_as_declared(tried, frames, dtype):
    backbone = tried.load(dtype=dtype)
    found = tried.run(backbone, frames)
    assert [spec.name for spec in backbone.specs] == list(tried.case.features)
    assert set(found) == set(tried.case.features)
    for spec in backbone.specs:
        assert found[spec.name].shape == (len(frames), *spec.shape)
        assert found[spec.name].dtype == torch.float32
        assert torch.isfinite(found[spec.name]).all()
        assert found[spec.name].std() > 0
        assert (spec.tier, spec.compute["dtype"]) == (dtype, dtype)


def test_every_option_comes_out_as_declared(tried, frames):
    for name in tried.case.options:
        backbone = tried.load(**tried.option(name))
        found = tried.run(backbone, frames)
        for spec in backbone.specs:
            assert found[spec.name].shape == (len(frames), *spec.shape), name


def test_the_layout_accounts_for_every_place_of_a_row(tried):
    for spec in tried.describe():
        layout = spec.layout
        tokens = layout.prefix + layout.cells + layout.text
        assert tokens in spec.shape or layout.grid in (spec.shape[:2], spec.shape[1:])


def test_letterboxed_inputs_are_taken_as_well(tried, frames):
    backbone = tried.load(resize="letterbox")
    assert backbone.specs[0].image.resize == "letterbox"
    plain, boxed = (tried.run(each, frames) for each in (tried.load(), backbone))
    assert not any(torch.equal(plain[name], boxed[name]) for name in boxed)


def test_a_frame_does_not_see_the_others_of_its_batch(tried, backbone, frames):
    found = tried.run(backbone, frames)
    others = tried.run(backbone, [frames[0], *[np.zeros_like(frames[0])] * 3])
    for name, values in found.items():
        assert torch.equal(others[name][0], values[0]), name


def test_the_size_of_a_batch_changes_no_more_than_rounding(tried, backbone, frames):
    found, alone = tried.run(backbone, frames), tried.run(backbone, frames[:1])
    for name, values in found.items():
        assert (alone[name][0] - values[0]).abs().max() <= TOLERANCE * values[0].abs().max(), name


def test_running_and_loading_again_gives_the_same_numbers(tried, backbone, frames):
    found, again, reloaded = (tried.run(each, frames) for each in (backbone, backbone, tried.load()))
    for name, values in found.items():
        assert torch.equal(values, again[name]), name
        assert torch.equal(values, reloaded[name]), name


def test_loading_and_running_leave_the_random_state_alone(tried, frames):
    before = torch.get_rng_state()
    tried.run(tried.load(), frames)
    assert torch.equal(torch.get_rng_state(), before)


def test_everything_is_frozen(tried, backbone, frames):
    networks = list(networks_of(backbone))
    assert networks
    for network in networks:
        assert not any(module.training for module in network.modules())
        assert not any(parameter.requires_grad for parameter in network.parameters())
        assert not any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers()))
    assert not any(values.requires_grad for values in tried.run(backbone, frames).values())


def test_what_belongs_to_frames_knows_no_instruction(tried, backbone, frames):
    one, other = tried.run(backbone, frames), tried.run(backbone, frames, WORDS[::-1])
    same = {spec.name for spec in backbone.specs if torch.equal(one[spec.name], other[spec.name])}
    frames_only = {spec.name for spec in backbone.specs if spec.per == "frame"}
    assert frames_only <= same
    assert frames_only == {*tried.case.features} or same < {*tried.case.features}  # k and v may stand before the text


def test_everything_that_changes_the_numbers_changes_the_fingerprint(tried, copied):
    weights = bytearray((copied / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copied / "model.safetensors").write_bytes(weights)
    height, width = tried.case.size
    changed = {
        "dtype": tried.describe(dtype="bf16"),
        "image.resize": tried.describe(resize="letterbox"),
        "image.height": tried.describe(image_size=(2 * height, width)),
        "weights.model.safetensors": tried.describe(copied),
    }
    changed |= {name: tried.describe(**tried.option(name)) for name in tried.case.options}
    plain = tried.describe()
    for name, specs in changed.items():
        for spec, other in zip(plain, specs, strict=True):
            assert spec.fingerprint != other.fingerprint, name
            fields = [line.split(":")[0] for line in differences(other.compute, spec.compute)]
            assert fields == [name] if "." in name or name == "dtype" else len(fields) == 1, fields


def test_nothing_else_changes_the_fingerprint(tried, copied, tmp_path):
    (copied / "README.md").write_text("a copy")
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(dict(reversed(config.items())), indent=7))
    defaults = dict(tried.kind.options)
    others = [
        tried.describe(copied),
        tried.describe(hash_cache=tmp_path / "hashes"),
        tried.describe(hash_cache=tmp_path / "hashes"),  # out of the cache
        tried.describe(options=defaults),
        tried.describe(frame_size=None),
        tried.describe(revision="main"),
    ]
    assert all(other == tried.describe() for other in others)


def test_a_declaration_survives_json(tried):
    for spec in tried.describe():
        again = FeatureSpec.from_json(json.loads(json.dumps(spec.to_json())))
        assert again == replace(spec, compute=again.compute)
        assert again.fingerprint == spec.fingerprint


def test_features_keep_the_order_they_were_asked_for(tried):
    names = list(reversed(tried.case.features))
    assert [spec.name for spec in tried.describe(features=names)] == names


def test_a_checkpoint_of_another_kind_is_one_clear_error(tried, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"type": "act", "model_type": "gpt2", "kind": "yolo"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    for attempt in (tried.describe, tried.load):
        with pytest.raises(WeightsError) as caught:
            attempt(tmp_path)
        assert str(tmp_path) in str(caught.value)
        assert None not in (caught.value.found, caught.value.expected, caught.value.remedy)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(tried, copied, name):
    (copied / name).unlink()
    with pytest.raises(WeightsError, match=name) as caught:
        tried.describe(copied)
    assert None not in (caught.value.found, caught.value.expected, caught.value.remedy)


def test_a_checkpoint_that_is_not_there_is_refused(tried, tmp_path):
    with pytest.raises(WeightsError, match="no checkpoint directory"):
        tried.describe(tmp_path / "gone")


def damaged(path, tensor):
    """A weight file in several conditions."""
    whole, weights = path.read_bytes(), load_file(path)
    yield whole[:-1]
    yield whole[:1000]
    yield b""
    value = weights.pop(tensor)
    for values in ({}, {tensor: value[..., :0].clone()}):
        save_file(weights | values, path, {"format": "pt"})
        yield path.read_bytes()


def test_damaged_weights_are_one_clear_error(tried, copied):
    path = copied / "model.safetensors"
    for content in list(damaged(path, tried.case.tensor)):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="fit") as caught:
            tried.load(copied)
        assert None not in (caught.value.found, caught.value.expected, caught.value.remedy)


def test_an_unknown_feature_or_option_is_refused(tried):
    with pytest.raises(ConfigError, match="no feature 'x9'"):
        tried.describe(features=("x9",))
    with pytest.raises(ConfigError, match="no option 'colour'"):
        tried.describe(options={"colour": 1})


def test_an_image_too_small_for_the_network_is_refused(tried):
    with pytest.raises(ConfigError):
        tried.describe(image_size=(0, 0))
