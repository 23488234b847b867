"""One real run over real features: LeRobot's tiny dataset, a tiny X-VLA, an extraction, a short training."""

import json
import shlex
import warnings
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from visual_thought.pipeline.datasets.labels import LABEL_SCHEMA, write_labels
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.tensors import encode
from visual_thought.train.run import train

from ..toy_run import label_row, queries, train_config, write_manifest

INSTRUCTION = "take the red cube"


@dataclass(frozen=True)
class Lab:
    """weights/, store/, labels.parquet, tiny.yaml, run/ in one folder, and the dataset elsewhere."""

    folder: Path
    dataset: Path

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def weights(self) -> Path:
        return self.folder / "weights"


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def lab(tmp_path_factory, tiny_dataset) -> Lab:
    """Never write into it."""
    from visual_thought.extract.config import ExtractConfig
    from visual_thought.extract.run import extract
    from visual_thought.pipeline.datasets.world.checkpoints import write_checkpoint

    folder = tmp_path_factory.mktemp("lab")
    rows = [label_row(*query) for query in queries()]
    write_labels(folder / "labels.parquet", pa.Table.from_pylist(rows, schema=LABEL_SCHEMA))
    manifest = write_manifest(folder, root=str(tiny_dataset))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LeRobot's dependencies warn while they are imported
        weights = write_checkpoint(folder / "weights", seed=0)
    extract(
        ExtractConfig(
            manifest=manifest,
            store=folder / "store",
            checkpoint=str(weights),
            image_size=(128, 128),
            device="cpu",
            progress=False,
        )
    )
    train(train_config(folder, steps=20, controls=[]))
    return Lab(folder, tiny_dataset)


def rewrite_record(run: Path, **changes) -> None:
    """Change what a run says of itself."""
    path = run / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def recorded_command(weights: Path) -> str:
    return shlex.join(["vtt", "extract", "tiny.yaml", "--backbone", f"{weights}?image_size=128x128"])


def rewritten(store: Path, folder: Path, name: str, change) -> Path:
    """A store that says the same of itself, but one feature's rows went through ``change``."""
    source, made = FeatureStore.open(store), FeatureStore.create(folder)
    for key, spec in source.features().items():
        table = source.index(key)
        values = source.read(key, list(range(len(table))))
        values = change(values) if spec.name == name else values
        for plan in plan_array(made, spec, table):
            for part in plan.missing:
                rows = plan.part_range(part)
                commit_part(made, plan, part, encode(values[rows.start : rows.stop], spec))
    return folder
