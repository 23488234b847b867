"""A tiny X-VLA in LeRobot's own format, and threads that survive a fork."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from visual_thought.extract.config import ExtractConfig
from visual_thought.pipeline.datasets.world.checkpoints import write_checkpoint

TASKS = ("pick up the orange cube", "put it into the white box", "pick up the orange cube")


LEROBOT_TIMEOUT_S = 300  # importing LeRobot alone takes up to a minute
SMALL = {"image_size": (28, 28), "device": "cpu", "dtype": "fp32", "progress": False}


@pytest.fixture(scope="session")
def both_cameras(xvla: Path, recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> ExtractConfig:
    """An extraction of 540 frames, 5 parts a feature."""
    folder = tmp_path_factory.mktemp("both")
    path = write_manifest(folder, recorded, cameras=["main", "top"], stride=1)
    return ExtractConfig(manifest=path, store=folder / "store", checkpoint=str(xvla), **SMALL)


@pytest.fixture(scope="session")
def single(both_cameras: ExtractConfig) -> Path:
    """The same extraction's store, made by one process in one go."""
    from visual_thought.extract.run import extract

    store = both_cameras.store.with_name("single")
    extract(replace(both_cameras, store=store))
    return store


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests that may be the first to import LeRobot the time for it."""
    for item in items:
        if {"xvla", "recorded"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.timeout(LEROBOT_TIMEOUT_S))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """One torch thread: a thread pool does not survive a fork, and small networks do not need one."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def xvla(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random X-VLA written by LeRobot's save_pretrained, with its preprocessor and tokenizer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LeRobot's dependencies warn while they are imported
        return write_checkpoint(tmp_path_factory.mktemp("weights") / "xvla", pretrained=False, seed=0)


@pytest.fixture
def xvla_with(xvla: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copies of the tiny X-VLA with changed JSON files: ``xvla_with(config={…}, tokenizer_step={…}, without=[…])``."""

    def make(
        *,
        config: dict[str, Any] | None = None,
        tokenizer_step: dict[str, Any] | None = None,
        without: tuple[str, ...] = (),
    ) -> Path:
        folder = tmp_path / "changed-xvla"
        shutil.copytree(xvla, folder)
        change(folder / "config.json", lambda data: data.update(config or {}))
        change(folder / "policy_preprocessor.json", lambda data: tokenizer(data).update(tokenizer_step or {}))
        for name in without:
            (folder / name).unlink()
        return folder

    return make


@pytest.fixture
def frames() -> list[np.ndarray]:
    """Four RGB frames of one size."""
    return [np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8) for seed in range(4)]


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset recorded by LeRobot: 3 episodes of 90 frames, 2 cameras, one task an episode."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LeRobot's dependencies warn while they are imported
        from lerobot.datasets.lerobot_dataset import LeRobotDataset

    root = tmp_path_factory.mktemp("datasets") / "recorded"
    video = {"dtype": "video", "shape": (48, 64, 3), "names": ["height", "width", "channels"]}
    state = {"dtype": "float32", "shape": (2,), "names": ["x", "y"]}
    features = {"observation.images.main": video, "observation.images.top": video, "observation.state": state}
    dataset = LeRobotDataset.create("lab/recorded", fps=10, features=features, root=root)
    for episode in range(3):
        for frame in range(90):
            images = {f"observation.images.{name}": picture(episode, frame, name) for name in ("main", "top")}
            state = np.array([episode, frame], np.float32)
            dataset.add_frame({**images, "observation.state": state, "task": TASKS[episode]})
        dataset.save_episode(parallel_encoding=False)
    dataset.finalize()
    return root


@pytest.fixture
def manifest(recorded: Path, tmp_path: Path) -> Callable[..., Path]:
    """Manifests of the recorded dataset: ``manifest(episodes=[0], stride=2)`` writes one and returns its path."""

    def write(root: Path = recorded, **fields: Any) -> Path:
        return write_manifest(tmp_path, root, **fields)

    return write


@pytest.fixture
def config(xvla: Path, manifest: Callable[..., Path], tmp_path: Path) -> Callable[..., ExtractConfig]:
    """Extractions of the recorded dataset with the tiny X-VLA: ``config(dtype="fp32")``."""

    def make(**fields: Any) -> ExtractConfig:
        given = {"manifest": fields.get("manifest") or manifest(), "store": tmp_path / "store", "checkpoint": str(xvla)}
        return ExtractConfig(**(given | SMALL | fields))

    return make


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub's client without network."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def edit_json() -> Callable[..., None]:
    """``edit_json(path, edit)`` changes a JSON file in place."""
    return change


@pytest.fixture(scope="session")
def contents() -> Callable[..., dict[str, str]]:
    """``contents(store, feature="*")``: every committed file but what receipts say of the machine, path -> hash."""

    def read(store: Path, feature: str = "*") -> dict[str, str]:
        found = {}
        for path in sorted(store.rglob("*")):
            name = str(path.relative_to(store))
            if path.is_file() and not path.name.startswith(".") and (feature == "*" or f"/{feature}-" in name):
                data = path.read_bytes()
                if name.startswith("receipts/") and path.suffix == ".json":
                    kept = {key: value for key, value in json.loads(data).items() if key not in ("info", "checksum")}
                    data = json.dumps(kept).encode()
                found[name] = hashlib.sha256(data).hexdigest()
        return found

    return read


def write_manifest(folder: Path, root: Path, **fields: Any) -> Path:
    """Write a manifest of a copy of the recorded dataset under a new name."""
    path = folder / f"manifest_{len(list(folder.glob('manifest_*')))}.yaml"
    splits = {"train": [0], "val": [], "test": []}
    given = {"repo_id": "lab/recorded", "root": str(root), "cameras": ["main"], "stride": 2, "splits": splits}
    path.write_text(json.dumps(given | {"licence": "CC0-1.0", "simulated": True} | fields))
    return path


def picture(episode: int, frame: int, camera: str) -> np.ndarray:
    """A frame (48, 64, 3) that no other frame of the dataset equals."""
    image = np.full((48, 64, 3), 40 * episode + 90 * (camera == "top"), np.uint8)
    image[frame % 40 : frame % 40 + 8, frame // 2 : frame // 2 + 10] = (255 - 2 * frame, 2 * frame, 128)
    return image


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit a JSON file."""
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


def tokenizer(preprocessor: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a preprocessor's tokenizer step."""
    return next(step["config"] for step in preprocessor["steps"] if step["registry_name"] == "tokenizer_processor")
