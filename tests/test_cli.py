"""The command line: exit codes, one clear message, results on stdout and everything else on stderr."""

import json
from pathlib import Path

import pytest

from visual_thought.pipeline.cli import run
from visual_thought.train.config import TrainConfig


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["extrac"]) == 2
    assert "extract" in capsys.readouterr().err


def test_an_unknown_option_of_train_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = run(["train", "ground-world", "--store", "s", "--out", str(tmp_path / "r"), "--manifest", "m", "--foo"])
    said = capsys.readouterr()
    assert code == 2
    assert said.out == ""
    assert "found:    --foo" in said.err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("change", ["decoder.dimm=64", "nonsense=1"])
def test_an_unknown_recipe_key_is_named_with_the_nearest(
    change: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    place = ["--store", str(tmp_path / "s"), "--out", str(tmp_path / "r"), "--manifest", "tabletop_cubes"]
    assert run(["train", "ground-world", *place, "--set", change]) == 2
    assert change.split("=", maxsplit=1)[0].rsplit(".", maxsplit=1)[-1] in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("flags", [[], ["--allow-partial"]])
def test_training_on_part_of_a_store_has_to_be_allowed(
    flags: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import visual_thought.train.run

    class Stopped(Exception):
        pass

    def stop(config: TrainConfig) -> None:
        assert config.loader.allow_partial == bool(flags)
        raise Stopped

    monkeypatch.setattr(visual_thought.train.run, "train", stop)
    place = ["--store", str(tmp_path / "s"), "--out", str(tmp_path / "r"), "--manifest", "tabletop_cubes"]
    with pytest.raises(Stopped):
        run(["train", "ground-world", *place, *flags])


def test_an_unknown_recipe_lists_the_known_ones(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    place = ["--store", str(tmp_path / "s"), "--out", str(tmp_path / "r"), "--manifest", "tabletop_cubes"]
    assert run(["train", "grund", *place]) == 2
    assert "ground-world" in capsys.readouterr().err


def test_an_unknown_manifest_lists_the_shipped_ones(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["extract", "tabletop_cube", "--store", str(tmp_path / "s"), "--plan"]) == 3
    assert "tabletop_cubes" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_a_folder_without_a_store_is_said_to_be_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["store", "ls", str(tmp_path)]) == 3
    assert "is no feature store" in capsys.readouterr().err


def test_a_run_folder_that_is_none_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["eval", str(tmp_path / "nothing")]) in (2, 3)
    assert "nothing" in capsys.readouterr().err


def test_a_world_of_no_size_is_refused_and_leaves_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["world", "cubes", "--out", str(tmp_path / "w"), "--episodes", "1"]) == 2
    assert "--episodes" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_never_overwrites(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    assert run(["world", "checkpoints", "--out", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_json_is_one_object_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "startup", "--rounds", "1", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["rounds"] == 1
    assert said.err == ""
