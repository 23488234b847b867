"""The main job, small: world, extract, train, eval in this process, by the command a newcomer types."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from visual_thought import FeatureStore, load_run
from visual_thought.pipeline.cli import run

pytestmark = pytest.mark.timeout(400)  # LeRobot's import alone may take a minute
SMALL = ["--episodes", "6", "--frames", "12", "--steps", "6"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "out"


def ask(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LeRobot's dependencies warn while they are imported
        code = run([*arguments, "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    answer: dict[str, Any] = json.loads(said.out)
    return answer, said.err


def test_the_demo_goes_from_nothing_to_numbers_and_pictures(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer, _ = ask(["demo", "--out", str(demo), *SMALL], capsys)
    assert list(answer["seconds"]) == ["world", "extract", "train", "eval"]
    for scores in (answer["metrics"], *(answer["controls"][c] for c in ("centre_prior", "linear_probe"))):
        assert {"f025", "precision", "recall", "hit_rate", "pixel_error"} <= set(scores)
    assert "f025" in answer["controls"]["instruction_blind"]
    assert answer["dataset_repo_id"] == "visual-thought/tabletop_cubes"
    assert (Path(answer["dataset_root"]) / "meta" / "info.json").is_file()
    assert answer["resize"] == "squash"
    assert answer["tokenizer_max_length"] == 16
    assert (Path(answer["xvla"]) / "model.safetensors").is_file()
    assert (Path(answer["tokenizer"]) / "tokenizer.json").is_file()
    assert answer["figures"]
    for figure in answer["figures"]:
        with Image.open(figure) as picture:
            assert min(picture.size) > 300
    store = FeatureStore.open(answer["store"])
    assert {spec.name: spec.shape for spec in store.features().values()} == {"z": (66, 96), "r": (14, 14, 96)}
    assert store.index(store.resolve("z")).num_rows == 6 * 12 * 2 * 3
    assert store.index(store.resolve("r")).num_rows == 6 * 12 * 2
    assert load_run(answer["run"]) is not None


def test_a_second_demo_reuses_world_and_store(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (demo / "store").rglob("*") if path.is_file()}
    answer, said = ask(["demo", "--out", str(demo), *SMALL], capsys)
    assert "reusing the data set" in said
    assert "nothing to extract" in said
    assert Path(answer["run"]).name == "001"
    assert {path: path.stat().st_mtime_ns for path in (demo / "store").rglob("*") if path.is_file()} == before


def test_a_demo_of_another_size_is_refused(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--out", str(demo), "--episodes", "5", "--frames", "12"]) == 2
    assert "another size" in capsys.readouterr().err


def test_every_command_names_what_the_store_holds(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer, _ = ask(["store", "ls", str(demo / "store")], capsys)
    assert len(answer["features"]) == 2


def test_a_store_of_another_backbone_is_not_mixed_silently(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run trained on one Z refuses a store that holds another, field by field."""
    twin = demo / "twin"
    assert run(["world", "checkpoints", "--random", "--out", str(twin)]) == 0
    manifest = str(demo / "world" / "tabletop_cubes.yaml")
    other = str(demo / "other-store")
    assert run(["extract", manifest, "--store", other, "--backbone", str(twin), "--json"]) == 0
    capsys.readouterr()
    code = run(["eval", str(demo / "runs" / "000"), "--store", other, "--out", str(demo / "e"), "--no-figures"])
    assert code == 4
    assert "weights" in capsys.readouterr().err


def test_an_existing_run_folder_is_an_error(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = str(demo / "world" / "tabletop_cubes.yaml")
    place = ["--store", str(demo / "store"), "--manifest", manifest, "--out", str(demo / "runs" / "000")]
    before = sorted((demo / "runs" / "000").rglob("*"))
    assert run(["train", "ground-world", *place]) == 2
    assert "--resume" in capsys.readouterr().err
    assert sorted((demo / "runs" / "000").rglob("*")) == before


def test_a_checkpoint_without_tokenizer_is_an_error(
    demo: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors", "policy_preprocessor.json"):
        text = (demo / "xvla" / name).read_bytes()
        (bare / name).write_bytes(text.replace(str(demo / "xvla").encode(), b"/gone"))
    manifest = str(demo / "world" / "tabletop_cubes.yaml")
    assert run(["extract", manifest, "--store", str(tmp_path / "s"), "--backbone", str(bare)]) == 3
    assert "tokenizer" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()
