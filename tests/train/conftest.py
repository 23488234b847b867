"""The toy data set is written once a session and never changed; tests that damage it make their own."""

import shutil
from pathlib import Path

import pytest
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
