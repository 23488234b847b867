"""The pretext: what it asks, what it stores, and that stopping and resuming changes nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from visual_thought.pipeline.datasets.world.checkpoints import write_tokenizer
from visual_thought.pipeline.datasets.world.cloth_pretext import ClothSampler, _move, draw_cloth_rows
from visual_thought.pipeline.datasets.world.cloth_render import CLOTH_OBJECTS
from visual_thought.pipeline.datasets.world.cloth_scene import PATCH_RGB
from visual_thought.pipeline.datasets.world.cloth_truth import INSTRUCTIONS, TASK
from visual_thought.pipeline.datasets.world.language import COLOURS, REFERENTS, corpus, instruction
from visual_thought.pipeline.datasets.world.pretext import object_shares, read_pretext, write_pretext
from visual_thought.pipeline.datasets.world.pretrain import ClothScenes, pretrain
from visual_thought.pipeline.datasets.world.pretraining import PretrainConfig
from visual_thought.pipeline.datasets.world.render import OBJECTS
from visual_thought.pipeline.datasets.world.samples import subcells
from visual_thought.pipeline.spec import IMAGENET_MEAN, IMAGENET_STD


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pretext(tmp_path_factory.mktemp("scenes"), episodes=4, seed=5, workers=1, shard=2, progress=False)


@pytest.fixture(scope="module")
def cloths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("cloths")
    return write_pretext(into, episodes=2, seed=5, workers=1, draw=draw_cloth_rows, shard=2, progress=False)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    into = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(into)
    return AutoTokenizer.from_pretrained(into)


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
    cells = subcells(shares)
    assert cells.shape == (1, 49, 1, 4)
    assert cells[0, 8, 0].tolist() == [shares[0, 0, y, x].item() for y in (2, 3) for x in (2, 3)]


def test_scenes_are_kept_with_what_is_true_of_them(scenes: Path) -> None:
    facts = read_pretext(scenes)
    assert len(facts["colour"]) == 4 * 3 * 2
    np.testing.assert_allclose(facts["shares"].astype(float).sum(1), 255, atol=4)  # every pixel shows one object
    assert facts["actions"].shape[1:] == (8, 6)
    assert REFERENTS[: len(COLOURS)] == tuple(f"{colour} cube" for colour in COLOURS)


def test_cloths_are_kept_with_their_corners(cloths: Path) -> None:
    facts = read_pretext(cloths)
    assert len(facts["corners"]) == 2 * 3 * 2
    np.testing.assert_allclose(facts["shares"].astype(float).sum(1), 255, atol=5)
    assert facts["shares"].shape[1] == len(CLOTH_OBJECTS)
    for row, corner in zip(*np.nonzero(facts["visible"]), strict=True):
        x, y = (facts["corners"][row, corner] / 16).astype(int)  # its cell of 16 px
        around = facts["shares"][row, -1, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        assert around.max() > 0  # where a corner is seen, there is cloth
    assert facts["held"].sum(1).max() <= 1


def test_a_peak_stands_where_its_corner_is(cloths: Path, tokenizer: Any) -> None:
    sampler = ClothSampler(cloths, tokenizer, seed=0)
    facts, batch = sampler.scenes.facts, sampler.batch(0, len(sampler), augment=False)
    for row in range(len(sampler)):
        seen = facts["corners"][row][facts["visible"][row]]
        high = batch.peaks[row, 0].numpy()
        assert (high.max() > 0.5) == bool(len(seen))
        for x, y in seen[((seen > 8) & (seen < 216)).all(axis=1)]:
            assert high[int(y // 8), int(x // 8)] >= np.exp(-(2 * 4**2) / (2 * 6**2)) - 1e-5


def test_mirrored_and_shifted_by_a_cell_pixels_shares_and_corners_move_alike() -> None:
    pixels, shares = torch.rand(2, 3, 224, 224), torch.rand(2, 5, 14, 14)
    corners = torch.tensor([[30.0, 40.0], [100.0, 7.0], [200.0, 180.0], [112.0, 112.0]]).repeat(2, 1, 1)
    matrix = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]], [[1, 0, 2 / 14], [0, 1, 0]]])  # mirrored; one cell to the left
    moved, cells, places = _move(pixels, shares, corners, matrix)
    torch.testing.assert_close(moved[0], pixels[0].flip(-1), atol=1e-4, rtol=0)
    torch.testing.assert_close(cells[0], shares[0].flip(-1))
    torch.testing.assert_close(places[0], torch.stack([224 - corners[0, :, 0], corners[0, :, 1]], dim=1))
    torch.testing.assert_close(moved[1, :, :, :208], pixels[1, :, :, 16:], atol=1e-3, rtol=0)
    torch.testing.assert_close(cells[1, :, :, :13], shares[1, :, :, 1:], atol=1e-4, rtol=0)
    assert (cells[1, :, :, 13] < 1e-3).all()  # nothing is there beside the frame
    torch.testing.assert_close(places[1], corners[1] - torch.tensor([16.0, 0.0]))


def test_peaks_of_moved_frames_stand_on_the_coloured_patches(cloths: Path, tokenizer: Any) -> None:
    sampler = ClothSampler(cloths, tokenizer, seed=0)
    moved = [sampler.batch(step, 16) for step in range(4)]
    pixels, peaks = torch.cat([b.pixels for b in moved]), torch.cat([b.peaks[:, 0] for b in moved])
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    rgb = F.avg_pool2d(pixels * std + mean, 8)  # (n, 3, 28, 28)
    pink = rgb[:, 0] - rgb[:, 1]  # of all that is there, the patches over the corners have the most red without green
    assert PATCH_RGB[0] - PATCH_RGB[1] > 0.5
    assert pink[peaks > 0.6].mean() > pink[peaks < 0.05].mean() + 0.1


def test_the_expert_counts_only_where_the_task_is_asked_and_the_frame_is_as_it_was(
    cloths: Path, tokenizer: Any
) -> None:
    sampler = ClothSampler(cloths, tokenizer, seed=0)
    plain = sampler.batch(0, len(sampler), augment=False)
    assert torch.equal(plain.expert, torch.from_numpy(sampler.scenes.facts["expert"]).float())
    task = sampler.ids[INSTRUCTIONS.index(TASK)]
    for batch in (sampler.batch(step, 32) for step in range(4)):
        asked = (batch.instructions == task).all(dim=1)
        assert not batch.expert[~asked].any()
        assert batch.expert.sum() < asked.sum()


def test_a_stopped_pretraining_resumes_to_the_same_weights(scenes: Path, cloths: Path, tmp_path: Path) -> None:
    whole = PretrainConfig(
        data=scenes, held_out=scenes, out=tmp_path / "a", steps=2, batch_size=2, save_every=1, progress=False
    )
    seen = ClothScenes(cloths, cloths, batch_size=2)
    pretrain(whole, seen)
    parted = replace(whole, out=tmp_path / "b")
    pretrain(replace(parted, stop_after=1), seen)
    scores = pretrain(parted, seen)
    assert {"cloth", "cloth corner", "held corner", "white box"} <= scores.keys()
    first, second = (load_file(tmp_path / name / "xvla.safetensors") for name in ("a", "b"))
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
