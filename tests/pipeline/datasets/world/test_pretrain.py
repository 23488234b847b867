"""The pretext: what it asks, what it stores, and that stopping and resuming changes nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from visual_thought.pipeline.datasets.world.language import COLOURS, REFERENTS, corpus, instruction
from visual_thought.pipeline.datasets.world.pretext import object_shares, read_pretext, write_pretext
from visual_thought.pipeline.datasets.world.pretrain import pretrain
from visual_thought.pipeline.datasets.world.pretraining import PretrainConfig
from visual_thought.pipeline.datasets.world.render import OBJECTS
from visual_thought.pipeline.datasets.world.samples import quarter


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pretext(tmp_path_factory.mktemp("scenes"), episodes=4, seed=5, workers=1, shard=2, progress=False)


def test_the_task_instruction_is_met_by_actions_only() -> None:
    phrases = [text for text in corpus() if text not in {instruction(colour) for colour in COLOURS}]
    assert len(phrases) == len(corpus()) - len(COLOURS)
    assert not any("place inside" in phrase or "Pick up" in phrase for phrase in phrases)


def test_every_object_share_is_the_mean_of_its_pixels() -> None:
    objects = np.random.default_rng(0).integers(0, len(OBJECTS), (28, 28)).astype(np.uint8)
    shares = object_shares(objects)
    for index in range(len(OBJECTS)):
        for row in range(14):
            for column in range(14):
                block = objects[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                assert abs(int(shares[index, row, column]) - 255 * (block == index).mean()) <= 0.5


def test_quarters_are_the_two_by_two_blocks_of_a_cell() -> None:
    shares = torch.arange(14 * 14.0).reshape(1, 1, 14, 14)
    cells = quarter(shares)
    assert cells.shape == (1, 49, 1, 4)
    assert cells[0, 8, 0].tolist() == [shares[0, 0, y, x].item() for y in (2, 3) for x in (2, 3)]


def test_scenes_are_kept_with_what_is_true_of_them(scenes: Path) -> None:
    facts = read_pretext(scenes)
    assert len(facts["colour"]) == 4 * 3 * 2
    np.testing.assert_allclose(facts["shares"].astype(float).sum(1), 255, atol=4)  # every pixel shows one object
    assert facts["actions"].shape[1:] == (8, 6)
    assert REFERENTS[: len(COLOURS)] == tuple(f"{colour} cube" for colour in COLOURS)


def test_a_stopped_pretraining_resumes_to_the_same_weights(scenes: Path, tmp_path: Path) -> None:
    whole = PretrainConfig(
        data=scenes, held_out=scenes, out=tmp_path / "a", steps=2, batch_size=2, save_every=1, progress=False
    )
    pretrain(whole)
    parted = replace(whole, out=tmp_path / "b")
    pretrain(replace(parted, stop_after=1))
    pretrain(parted)
    first, second = (load_file(tmp_path / name / "xvla.safetensors") for name in ("a", "b"))
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
