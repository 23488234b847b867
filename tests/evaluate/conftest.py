"""Labelled rows made by hand: three episodes, two cameras, two instructions, 4x4 cells of a 64x48 frame."""

import shutil

import numpy as np
import pytest

from visual_thought.evaluate.rows import LabelledRows
from visual_thought.pipeline.geometry import FrameGeometry
from visual_thought.pipeline.spec import ImageSpec
from visual_thought.train.run import train

from .toy_run import make_toy, train_config

GRID, FINE = (4, 4), (8, 8)
HEIGHT, WIDTH = 48, 64
PHASES = ("approach", "approach", "carry", "carry")


def make_rows(episodes=3, seed=0):
    """Red is the target before the grasp, the box after it; blue is never there (negative)."""
    rng = np.random.default_rng(seed)
    geometry = {camera: FrameGeometry.of(ImageSpec(32, 32), HEIGHT, WIDTH) for camera in ("main", "top")}
    columns = {"episode": [], "frame": [], "camera": [], "instruction": [], "target": [], "phase": []}
    cells, points, masks = [], [], []
    for episode in range(episodes):
        for camera, view in geometry.items():
            for frame, phase in enumerate(PHASES):
                for instruction in ("take the blue cube", "take the red cube"):
                    positive = "red" in instruction
                    x, y = int(rng.integers(4, WIDTH - 8)), int(rng.integers(4, HEIGHT - 8))
                    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
                    mask[y : y + 4, x : x + 4] = positive
                    coverage, share = view.cell_shares(mask, GRID)
                    cells.append((coverage >= 0.25) | (share >= 0.15))
                    points.append((x + 2.0, y + 2.0) if positive else (np.nan, np.nan))
                    masks.append(mask if positive else None)
                    target = ("red cube" if phase == "approach" else "box") if positive else ""
                    for name, value in zip(columns, (episode, frame, camera, instruction, target, phase), strict=True):
                        columns[name].append(value)
    texts = {name: tuple(columns[name]) for name in ("camera", "instruction", "target", "phase")}
    numbers = {name: np.array(columns[name]) for name in ("episode", "frame")}
    return LabelledRows(
        **numbers,
        **texts,
        cells=np.array(cells),
        points=np.array(points),
        region=masks.__getitem__,
        geometry=geometry,
    )


@pytest.fixture
def rows():
    """48 rows, half of them negative."""
    return make_rows()


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory):
    """store/, labels.parquet, tiny.yaml and a short real run in run/; never change it."""
    folder = tmp_path_factory.mktemp("trained")
    make_toy(folder)
    train(train_config(folder))
    return folder


@pytest.fixture
def trained(trained_once, tmp_path):
    """A private copy whose run still reads the store and labels it was trained on, unless told otherwise."""
    return shutil.copytree(trained_once, tmp_path / "trained", symlinks=True)
