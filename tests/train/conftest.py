"""The toy data set is written once a session and never changed; tests that damage it make their own."""

import shutil
from pathlib import Path

import pytest
from expert_toys import make_experts
from grounding_toys import make_dataset


@pytest.fixture(scope="session")
def toys_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toys")
    make_dataset(folder)
    return folder


@pytest.fixture
def toys(toys_once: Path, tmp_path: Path) -> Path:
    """A private copy: store/, labels.parquet, toys.yaml."""
    return shutil.copytree(toys_once, tmp_path / "toys")


@pytest.fixture(scope="session")
def experts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """store/ with z, e and y, labels.parquet, corners.parquet, toys.yaml. Never write into it."""
    folder = tmp_path_factory.mktemp("experts")
    make_experts(folder)
    return folder
