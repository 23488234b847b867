"""The main job, small: world, extract, train, eval in this process, by the command a newcomer types."""

import io
import json
import shutil
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from visual_thought import FeatureStore, load_run
from visual_thought.pipeline.cli import run

pytestmark = pytest.mark.timeout(400)  # LeRobot's import alone may take a minute
SMALL = ["--episodes", "6", "--frames", "12", "--steps", "6"]


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a first demo says it made; the other tests go on from there."""
    return ask(["demo", "--out", str(tmp_path_factory.mktemp("demo") / "out"), *SMALL])[0]


@pytest.fixture(scope="module")
def demo(answer: dict[str, Any]) -> Path:
    return Path(answer["store"]).parent


def ask(arguments: list[str]) -> tuple[dict[str, Any], str]:
    """What a command answers in JSON, and what it says beside it."""
    out, err = io.StringIO(), io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(out), redirect_stderr(err):
        warnings.simplefilter("ignore")  # LeRobot's dependencies warn while they are imported
        code = run([*arguments, "--json"])
    assert code == 0, err.getvalue()
    return json.loads(out.getvalue()), err.getvalue()


def test_the_demo_goes_from_nothing_to_numbers_and_pictures(answer: dict[str, Any]) -> None:
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


@pytest.mark.slow
def test_a_second_demo_reuses_world_and_store(demo: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (demo / "store").rglob("*") if path.is_file()}
    answer, said = ask(["demo", "--out", str(demo), *SMALL])
    assert "reusing the data set" in said
    assert "nothing to extract" in said
    assert Path(answer["run"]).name == "001"
    assert {path: path.stat().st_mtime_ns for path in (demo / "store").rglob("*") if path.is_file()} == before


def test_a_demo_of_another_size_is_refused(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--out", str(demo), "--episodes", "5", "--frames", "12"]) == 2
    assert "another size" in capsys.readouterr().err


def test_every_command_names_what_the_store_holds(demo: Path) -> None:
    answer, _ = ask(["store", "ls", str(demo / "store")])
    assert len(answer["features"]) == 2


def test_a_store_of_another_backbone_is_not_mixed_silently(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run trained on one Z refuses a store that holds another, field by field."""
    twin = demo / "twin"
    assert run(["world", "checkpoints", "--only", "xvla", "--random", "--out", str(twin)]) == 0
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


def changed_manifest(demo: Path, folder: Path, **changes: Any) -> Path:
    """The demo's manifest with other values, in another folder."""
    data = yaml.safe_load((demo / "world" / "tabletop_cubes.yaml").read_text())
    data |= {"root": str(demo / "world" / "dataset"), "labels": str(demo / "world" / "labels.parquet")} | changes
    path = folder / "tabletop_cubes.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"root": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"cameras": ["main", "side"]}, "side"),
        ({"episodes": [0, 99]}, "99"),
        ({"labels": "gone.parquet"}, "gone.parquet"),
        ({"stirde": 2}, "stride"),
    ],
    ids=["missing dataset", "missing camera", "missing episode", "missing labels", "unknown manifest key"],
)
def test_what_the_dataset_lacks_is_named_before_anything_is_written(
    changes: dict[str, Any], said: str, demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = changed_manifest(demo, tmp_path, **changes)
    code = run(["extract", str(manifest), "--store", str(tmp_path / "s"), "--backbone", str(demo / "xvla")])
    error = capsys.readouterr().err
    assert code == 3, error
    assert said in error
    assert error.startswith("error: ")
    assert not (tmp_path / "s").exists()


def test_a_label_for_a_frame_that_does_not_exist_is_named(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = pq.read_table(demo / "world" / "labels.parquet")
    stray = labels.slice(0, 1).set_column(1, "frame_index", pa.array([777]))
    pq.write_table(pa.concat_tables([labels, stray.cast(labels.schema)]), tmp_path / "labels.parquet")
    manifest = changed_manifest(demo, tmp_path, labels=str(tmp_path / "labels.parquet"))
    assert run(["extract", str(manifest), "--store", str(tmp_path / "s"), "--backbone", str(demo / "xvla")]) == 3
    assert "777" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_a_video_shorter_than_its_index_is_named(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The videos of another, shorter world under this one's index: the last episode's end is not there."""
    root = tmp_path / "dataset"
    shutil.copytree(demo / "world" / "dataset", root)
    assert run(["world", "cubes", "--out", str(tmp_path / "short"), "--episodes", "3", "--frames", "12", "--json"]) == 0
    name = "videos/observation.images.main/chunk-000/file-000.mp4"
    shutil.copyfile(tmp_path / "short" / "dataset" / name, root / name)
    capsys.readouterr()
    manifest = changed_manifest(demo, tmp_path, root=str(root))
    assert run(["extract", str(manifest), "--store", str(tmp_path / "s"), "--backbone", str(demo / "xvla")]) == 3
    error = capsys.readouterr().err
    assert "shorter than its index" in error
    assert "camera main" in error
