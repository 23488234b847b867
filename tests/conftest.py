"""What many tests share: one tiny dataset, recorded by LeRobot's own writer."""

import gc
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from visual_thought.pipeline.manifest import DatasetManifest, ListedSplits

TINY_CAMERAS = ("main", "top")
TINY_TASKS = tuple(f"Pick up {colour} cube and place inside white box" for colour in ("orange", "blue", "black"))
LEROBOT_TIMEOUT_S = 300  # importing LeRobot alone takes up to a minute
MEMORY, ENOUGH = Path("/dev/shm"), 6 << 30  # bytes; a whole run leaves a quarter of that


def pytest_configure():
    """Thousands of small stores are written: in memory where there is room, unless a folder was asked for.

    What a killed process wrote is there in either; a power failure is not what any test is about.
    """
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ENOUGH:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_modifyitems(items):
    for item in items:
        if {"tiny_dataset", "tiny_pictures"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.timeout(LEROBOT_TIMEOUT_S))


def pytest_collection_finish():
    """Thousands of tests and their libraries live to the end: no use in looking through them for garbage so often."""
    gc.freeze()
    gc.set_threshold(700, 10, 200)


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory) -> Path:
    """A LeRobot v3.0 dataset: 3 episodes x 10 frames at 15 Hz, main and top, 64x48, AV1. Never write into it."""
    return record_tiny(tmp_path_factory.mktemp("tiny") / "dataset", use_videos=True)


@pytest.fixture(scope="session")
def tiny_pictures(tmp_path_factory) -> Path:
    """The same recording with its pictures one by one in the data file, no video. Never write into it."""
    return record_tiny(tmp_path_factory.mktemp("tiny") / "pictures", use_videos=False)


def record_tiny(root: Path, *, use_videos: bool) -> Path:
    """Let LeRobot record the tiny dataset."""
    os.environ.setdefault("SVT_LOG", "1")  # errors only
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LeRobot's dependencies warn while they are imported
        from lerobot.configs.video import RGBEncoderConfig
        from lerobot.datasets.lerobot_dataset import LeRobotDataset

        vector = {"dtype": "float32", "shape": (6,), "names": [f"joint_{i}" for i in range(6)]}
        kind = "video" if use_videos else "image"
        image = {"dtype": kind, "shape": (48, 64, 3), "names": ["height", "width", "channels"]}
        dataset = LeRobotDataset.create(
            "visual-thought/tiny",
            fps=15,
            features={"observation.state": vector, "action": vector}
            | {f"observation.images.{camera}": image for camera in TINY_CAMERAS},
            root=root,
            robot_type="so101",
            use_videos=use_videos,
            rgb_encoder=RGBEncoderConfig(vcodec="libsvtav1", crf=30),
        )
        for episode, task in enumerate(TINY_TASKS):
            for frame in range(10):
                dataset.add_frame(tiny_frame(episode, frame) | {"task": task})
            dataset.save_episode(parallel_encoding=False)
        dataset.finalize()
    return root


@pytest.fixture
def tiny_manifest(tiny_dataset) -> DatasetManifest:
    """The manifest of the tiny dataset: one episode a split."""
    return DatasetManifest(
        name="tiny",
        repo_id="visual-thought/tiny",
        cameras=TINY_CAMERAS,
        splits=ListedSplits(train=(0,), val=(1,), test=(2,)),
        licence="Apache-2.0",
        simulated=True,
        root=tiny_dataset,
    )


@pytest.fixture
def drawn() -> Callable[[int, int, str], np.ndarray]:
    """``drawn(episode, frame, camera)``: the picture that was recorded, no codec in between."""
    return lambda episode, frame, camera: tiny_frame(episode, frame)[f"observation.images.{camera}"]


def tiny_frame(episode: int, frame: int) -> dict[str, np.ndarray]:
    """A frame before encoding; no two frames of the dataset look alike."""
    rng = np.random.default_rng([episode, frame])
    pictures = {}
    for shade, camera in zip((90, 200), TINY_CAMERAS, strict=True):
        picture = np.full((48, 64, 3), 80 * episode, np.uint8)
        picture[:, frame * 6 : frame * 6 + 6, 1] = 200
        picture[frame * 4 : frame * 4 + 4, :, 2] = shade
        pictures[f"observation.images.{camera}"] = picture
    vectors = {name: rng.normal(size=6).astype(np.float32) for name in ("observation.state", "action")}
    return pictures | vectors
