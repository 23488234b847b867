"""The embedded DINOv2: transformers' own files, and a pretraining that resumes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from visual_thought.pipeline.datasets.world.dinov2 import FILE, WEIGHTS, build_dinov2, pretrain_dinov2, write_dinov2
from visual_thought.pipeline.datasets.world.pretext import write_pretext
from visual_thought.pipeline.datasets.world.pretraining import PretrainConfig
from visual_thought.pipeline.errors import ConfigError

pytestmark = pytest.mark.timeout(400)  # transformers is imported here


def tokens(folder: Path) -> torch.Tensor:
    from transformers import Dinov2Model

    model = Dinov2Model.from_pretrained(folder, local_files_only=True).eval()
    pixels = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found: torch.Tensor = model(pixel_values=pixels).last_hidden_state
    return found


def test_the_folder_loads_with_transformers_offline(tmp_path: Path) -> None:
    write_dinov2(tmp_path / "d")
    assert {"config.json", "model.safetensors"} <= {path.name for path in (tmp_path / "d").iterdir()}
    assert json.loads((tmp_path / "d" / "config.json").read_text())["model_type"] == "dinov2"
    assert tokens(tmp_path / "d").shape == (1, 257, 96)


def test_the_shipped_weights_are_small_and_are_those_that_load(tmp_path: Path) -> None:
    assert WEIGHTS.stat().st_size <= 700_000
    write_dinov2(tmp_path / "d")
    shipped, written = load_file(WEIGHTS), load_file(tmp_path / "d" / "model.safetensors")
    assert shipped.keys() == written.keys()
    for name, value in shipped.items():
        assert value.dtype == torch.bfloat16
        assert torch.equal(value.float(), written[name]), name


def test_the_untrained_twin_depends_on_its_seed_alone(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_dinov2(tmp_path / name, pretrained=False, seed=seed)
    assert torch.equal(tokens(tmp_path / "a"), tokens(tmp_path / "b"))
    assert not torch.equal(tokens(tmp_path / "a"), tokens(tmp_path / "c"))


def test_a_used_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(ConfigError, match="not empty"):
        write_dinov2(tmp_path)


def test_a_stopped_pretraining_resumes_to_the_same_weights(tmp_path: Path) -> None:
    scenes = write_pretext(tmp_path / "scenes", episodes=2, seed=5, workers=1, shard=2, progress=False)
    whole = PretrainConfig(
        data=scenes, held_out=scenes, out=tmp_path / "a", steps=2, batch_size=2, save_every=1, progress=False
    )
    pretrain_dinov2(whole)
    parted = replace(whole, out=tmp_path / "b")
    pretrain_dinov2(replace(parted, stop_after=1))
    pretrain_dinov2(parted)
    first, second = (load_file(tmp_path / name / FILE) for name in ("a", "b"))
    assert first.keys() == second.keys() == build_dinov2().state_dict().keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
