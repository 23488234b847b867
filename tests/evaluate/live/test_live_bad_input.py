"""One clear error, its exit code, and nothing written."""

import importlib.util
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from visual_thought.pipeline.cli import run

from .conftest import INSTRUCTION, recorded_command, rewrite_record


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "frame.png"
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(path)
    return path


@pytest.fixture
def refused(capsys, tmp_path):
    """``refused(words, code, *parts)``: the command ends so, says so, and leaves the folder as it was."""

    def check(words, code, *parts):
        before = sorted(path.name for path in tmp_path.iterdir())
        assert run(["predict", *map(str, words)]) == code
        told = capsys.readouterr().err
        assert told.startswith("error: ")
        assert all(part in told for part in parts), told
        assert sorted(path.name for path in tmp_path.iterdir()) == before

    return check


@pytest.fixture
def moved(lab, tmp_path):
    """A run whose record says that its weights were elsewhere."""
    run_dir = shutil.copytree(lab.run, tmp_path / "moved", symlinks=True)
    command = recorded_command(tmp_path / "gone")
    rewrite_record(run_dir, made_by={"z": command, "r": command})
    return run_dir


def test_weights_that_are_gone_are_named_and_where_to_say_that_they_are(moved, picture, refused):
    refused([moved, INSTRUCTION, "--image", picture], 3, "are not where they were", "--backbone xvla=")


def test_weights_that_moved_are_used_where_they_are_now(moved, lab, picture, capsys):
    words = ["predict", moved, INSTRUCTION, "--image", picture, "--backbone", f"xvla={lab.weights}"]
    assert run([str(word) for word in words]) == 0
    assert "latency" in capsys.readouterr().out


def test_a_run_that_says_nothing_of_its_weights_asks_for_them(moved, lab, picture, refused, capsys):
    rewrite_record(moved, made_by={})
    refused([moved, INSTRUCTION, "--image", picture], 3, "does not say where the weights are", "--backbone xvla=")
    words = ["predict", moved, INSTRUCTION, "--image", picture, "--backbone", f"xvla={lab.weights}"]
    assert run([str(word) for word in words]) == 0
    assert "latency" in capsys.readouterr().out


def test_other_weights_are_a_mismatch_that_names_the_field(lab, picture, refused, tmp_path):
    other = shutil.copytree(lab.weights, tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    name = sorted(tensors)[0]
    save_file(tensors | {name: tensors[name] + 1}, other / "model.safetensors", {"format": "pt"})
    words = [lab.run, INSTRUCTION, "--image", picture, "--backbone", f"xvla={other}"]
    refused(words, 4, "does not make the feature", "weights.model.safetensors")


def test_another_image_size_is_a_mismatch_too(lab, picture, refused):
    words = [lab.run, INSTRUCTION, "--image", picture, "--backbone", f"xvla={lab.weights}?image_size=64x64"]
    refused(words, 4, "image.height: 64 != 128")


@pytest.mark.parametrize("content", [b"no picture", b"\x89PNG\r\n\x1a\n" + b"0" * 40])
def test_a_file_that_is_no_picture(lab, tmp_path, refused, content):
    (tmp_path / "bad.png").write_bytes(content)
    refused([lab.run, INSTRUCTION, "--image", tmp_path / "bad.png"], 3, "bad.png is")


def test_a_picture_cut_short(lab, picture, tmp_path, refused):
    (tmp_path / "short.png").write_bytes(picture.read_bytes()[:-30])
    refused([lab.run, INSTRUCTION, "--image", tmp_path / "short.png"], 3, "short.png is damaged")


def test_a_picture_whose_colours_would_be_guessed(lab, tmp_path, refused):
    Image.new("RGBA", (64, 48), (10, 20, 30, 128)).save(tmp_path / "glass.png")
    refused([lab.run, INSTRUCTION, "--image", tmp_path / "glass.png"], 3, "mode RGBA")


def test_no_such_picture(lab, tmp_path, refused):
    refused([lab.run, INSTRUCTION, "--image", tmp_path / "none.png"], 2, "there is no picture")


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_instruction(lab, picture, tmp_path, refused, text):
    refused([lab.run, text, "--image", picture], 2, "the instruction is empty")
    refused([lab.run, text, "--episode", 2, "--out", tmp_path / "clip.mp4"], 2, "the instruction is empty")


def test_a_picture_without_instruction(lab, picture, refused):
    refused([lab.run, "--image", picture], 2, "--image needs an instruction")


@pytest.mark.parametrize(("option", "value"), [("camera", "wrist"), ("episode", 17)])
def test_a_camera_or_an_episode_that_the_dataset_has_not(lab, tmp_path, refused, option, value):
    words = {"--episode": 2, "--camera": "main", "--out": tmp_path / "clip.mp4"} | {f"--{option}": value}
    refused([lab.run, INSTRUCTION, *(part for pair in words.items() for part in pair)], 2, f"has no {option} {value}")


def test_a_file_that_is_there_is_never_written_over(lab, tmp_path, refused, picture):
    (tmp_path / "clip.mp4").write_text("mine")
    refused([lab.run, INSTRUCTION, "--episode", 2, "--out", tmp_path / "clip.mp4"], 2, "is there already")
    refused([lab.run, INSTRUCTION, "--image", picture, "--save", picture], 2, "is there already")
    assert (tmp_path / "clip.mp4").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--episode", 2, "--out", "clip.avi"], ["--out is no such file", ".mp4"]),
        (["--episode", 2, "--out", "nowhere/clip.mp4"], ["there is no folder"]),
        (["--episode", 2, "--rerun", "clip.mp4"], ["--rerun is no such file", ".rrd"]),
        (["--episode", 2], ["there is nothing to write"]),
        (["--episode", 2, "--out", "c.mp4", "--save", "x.png"], ["--save does not go with --episode"]),
        (["--episode", 2, "--out", "c.mp4", "--backbone", "xvla=x"], ["--backbone belongs to --live"]),
        ([], ["either --image FILE or --episode N"]),
    ],
)
def test_options_that_cannot_be_meant(lab, tmp_path, monkeypatch, refused, words, parts):
    monkeypatch.chdir(tmp_path)
    refused([lab.run, INSTRUCTION, *words], 2, *parts)


def test_without_a_store_the_live_backbone_is_offered(lab, tmp_path, refused):
    words = [lab.run, INSTRUCTION, "--episode", 2, "--out", tmp_path / "clip.mp4", "--store", tmp_path / "gone"]
    refused(words, 3, "gone", "--live")


def test_what_the_store_was_not_asked_is_offered_live_and_what_it_was_asked_is_said(lab, tmp_path, refused):
    words = [lab.run, "take the white box", "--episode", 2, "--out", tmp_path / "clip.mp4"]
    refused(words, 3, "no row of z for 10 of 10 frames", "“take the blue cube”, “take the red cube”", "--live")


@pytest.mark.skipif(importlib.util.find_spec("rerun") is not None, reason="rerun-sdk is installed")
def test_rerun_without_its_package_ends_before_the_work(lab, tmp_path, refused):
    words = [lab.run, INSTRUCTION, "--episode", 2, "--rerun", tmp_path / "clip.rrd"]
    refused(words, 5, "needs the package rerun-sdk", "visual-thought[rerun]")


def test_a_damaged_frame_leaves_no_half_film(lab, tmp_path, refused):
    root = shutil.copytree(lab.dataset, tmp_path / "dataset")
    for path in root.glob("videos/*main/**/*.mp4"):
        data = bytearray(path.read_bytes())
        start = data.index(b"mdat") + 4
        data[start : start + len(data) // 2] = bytes(len(data) // 2)
        path.write_bytes(data)
    words = [lab.run, INSTRUCTION, "--episode", 0, "--out", tmp_path / "clip.mp4", "--root", root]
    refused(words, 3, "episode 0, camera main")
