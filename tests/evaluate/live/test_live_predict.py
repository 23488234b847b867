"""Answers now are the answers from the cache; films and pictures show them."""

import itertools
import json
import shutil

import av
import numpy as np
import pytest
import torch
from PIL import Image

from visual_thought.evaluate.live.backbones import recorded_backbones
from visual_thought.evaluate.live.cached import cached_rows
from visual_thought.evaluate.live.episode import answer_cached, answer_live, open_scene, truths_of
from visual_thought.evaluate.live.features import Clock
from visual_thought.evaluate.live.moved import moved
from visual_thought.evaluate.live.picture import open_run_live, predict_picture
from visual_thought.evaluate.live.tolerance import tolerance_of
from visual_thought.evaluate.live.video import exact_rate
from visual_thought.pipeline.cli import run
from visual_thought.pipeline.store import FeatureStore
from visual_thought.train.loaded import load_run

from .conftest import INSTRUCTION, rewrite_record

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def loaded(lab):
    return load_run(lab.run)


@pytest.fixture(scope="module")
def live(loaded):
    from visual_thought.evaluate.live.backbones import NO_CACHES

    return open_run_live(loaded, given=[], caches=NO_CACHES)


@pytest.fixture(scope="module")
def scene(loaded):
    return open_scene(loaded.record, 2, "main", instruction=INSTRUCTION)


def test_rows_made_now_are_the_cached_rows_within_the_tolerance_of_their_type(lab, loaded, live, scene):
    (cached,) = cached_rows(
        loaded, FeatureStore.open(lab.store), scene.queries, ("z", "r"), repo_id=scene.manifest.repo_id
    )
    frames = list(scene.frames())
    for size in (1, 10):  # batches as predict and as an extraction might cut them
        for name in ("z", "r"):
            made = torch.cat(
                [
                    live.rows(frames[at : at + size], scene.instructions[at : at + size])[name]
                    for at in range(0, 10, size)
                ]
            )
            spec = loaded.record.spec(name)
            tolerance = tolerance_of(spec)
            cosine, _, relative = moved(cached[name].numpy(), made.numpy(), spec)
            assert cosine.min() >= tolerance.cosine
            assert relative.max() <= tolerance.absolute


def test_the_tolerance_tells_another_instruction_and_another_frame_apart(loaded, live, scene):
    frames = list(scene.frames())
    rows = live.rows(frames, scene.instructions)
    asked_otherwise = live.rows(frames, ["take the blue cube"] * len(frames))
    z, r = (loaded.record.spec(name) for name in ("z", "r"))
    assert (moved(rows["z"].numpy(), asked_otherwise["z"].numpy(), z).cosine < tolerance_of(z).cosine).all()
    next_frame = rows["r"].roll(1, 0)
    assert (moved(rows["r"].numpy(), next_frame.numpy(), r).cosine < tolerance_of(r).cosine).all()


def test_a_live_episode_gets_the_answers_of_the_cache(lab, loaded, live, scene):
    from_cache = answer_cached(loaded, scene, FeatureStore.open(lab.store), Clock(CPU))
    now = answer_live(loaded, scene, live, Clock(CPU))
    assert len(from_cache) == len(now) == 10
    for a, b in zip(from_cache, now, strict=True):
        np.testing.assert_allclose(a.scores, b.scores, atol=0.01)
        assert a.sub_cell == b.sub_cell


def test_a_picture_gets_the_answer_of_the_same_frame_in_the_cache(lab, loaded, live, scene, tmp_path):
    frame = list(scene.frames())[4]
    Image.fromarray(frame).save(tmp_path / "frame.png")
    found = predict_picture(loaded, tmp_path / "frame.png", INSTRUCTION, live=live, save=tmp_path / "answer.png")
    cached = answer_cached(loaded, scene, FeatureStore.open(lab.store), Clock(CPU))[4]
    np.testing.assert_allclose(found.pointing.scores, cached.scores, atol=0.01)
    assert found.pointing.point == cached.point
    assert set(found.seconds) == {"decode", "preprocess", "backbone", "head", "draw"}
    with Image.open(tmp_path / "answer.png") as drawn:
        assert drawn.width > 600


def test_the_point_lies_in_its_sub_cell_and_the_sub_cell_in_a_coarse_cell(lab, loaded, scene):
    for answer in answer_cached(loaded, scene, FeatureStore.open(lab.store), Clock(CPU)):
        left, top, right, bottom = answer.sub_cell
        assert (left + right) / 2 == pytest.approx(answer.point[0])
        assert (top + bottom) / 2 == pytest.approx(answer.point[1])
        assert any(a <= left and right <= b for a, b in itertools.pairwise(answer.column_edges))
        assert right - left == pytest.approx((answer.column_edges[1] - answer.column_edges[0]) / 2)


def test_a_film_has_every_frame_of_the_episode_at_the_datasets_rate(lab, tmp_path, capsys):
    out = tmp_path / "clip.mp4"
    asked = ["predict", str(lab.run), INSTRUCTION, "--episode", "2", "--camera", "main", "--out", str(out), "--json"]
    assert run(asked) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["frames"], told["source"], told["fps"]) == (10, "cache", 15)
    judged = told["judged"]
    assert judged["relevant"] + judged["irrelevant"] == 10
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert (stream.average_rate, stream.width % 2, stream.height % 2) == (15, 0, 0)
        frames = list(container.decode(video=0))
    assert [round(float(frame.pts * frame.time_base) * 15, 6) for frame in frames] == list(range(10))
    pictures = [frame.to_ndarray(format="rgb24").astype(int) for frame in frames]
    assert all(np.abs(a - b).max() > 60 for a, b in itertools.pairwise(pictures))
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_live_film_needs_no_store(lab, tmp_path, capsys):
    asked = ["predict", str(lab.run), INSTRUCTION, "--episode", "1", "--camera", "top", "--live"]
    assert run([*asked, "--store", str(tmp_path / "gone"), "--out", str(tmp_path / "clip.mp4")]) == 0
    assert "from the live backbone" in capsys.readouterr().out


def test_an_instruction_without_labels_is_not_judged(lab, tmp_path, capsys):
    asked = ["predict", str(lab.run), "take the white box", "--episode", "1", "--live", "--json"]
    assert run([*asked, "--out", str(tmp_path / "clip.mp4")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["judged"] is None
    assert "nothing is judged" in told["notes"][0]


def test_a_frames_own_task_is_what_is_asked_if_nothing_else_is(loaded):
    scene = open_scene(loaded.record, 0, None)
    assert (scene.camera, set(scene.instructions)) == ("main", {"Pick up orange cube and place inside white box"})
    assert truths_of(scene) == ({}, "no label is about this episode, camera and instruction, so nothing is judged")


@pytest.mark.parametrize("simulated", [True, False])
def test_what_comes_of_a_simulated_world_says_so_and_nothing_else_does(lab, tmp_path, monkeypatch, capsys, simulated):
    monkeypatch.chdir(tmp_path)
    run_dir = shutil.copytree(lab.run, tmp_path / "run", symlinks=True)
    known = json.loads((run_dir / "run.json").read_text())["manifest"]
    rewrite_record(run_dir, manifest=known | {"simulated": simulated})
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save("frame.png")
    for words in (
        ["predict", "run", INSTRUCTION, "--image", "frame.png", "--save", "answer.png"],
        ["predict", "run", INSTRUCTION, "--episode", "2", "--out", "clip.mp4"],
        ["eval", "run", "--parity", "2"],
    ):
        assert run(words) == 0
        assert ("SIMULATED" in capsys.readouterr().out) == simulated
    with Image.open(tmp_path / "answer.png") as drawn:
        corner = np.asarray(drawn.convert("L"))[:100, -250:]
    with av.open(str(tmp_path / "clip.mp4")) as container:
        first = next(container.decode(video=0)).to_ndarray(format="gray")[:50, -190:]
    assert (corner.min() < 80) == (first.min() < 80) == simulated


def test_rates_are_exact_fractions():
    assert exact_rate(15) == 15
    assert (exact_rate(30000 / 1001).numerator, exact_rate(29.97002997).denominator) == (30000, 1001)


def test_the_backbones_of_a_recorded_command_are_read_with_their_options():
    command = "vtt extract m.yaml --store s --backbone 'lab/x?image_size=64x64' --revision abc --features z,r"
    (found,) = recorded_backbones(command)
    assert (found.kind, found.checkpoint, found.revision, found.image_size) == ("xvla", "lab/x", "abc", (64, 64))
    assert list(recorded_backbones("made 'by hand")) == []
