"""Bad input of a training: one error with what was found, what was expected and what to do; nothing half-written."""

import shutil

import pytest
import torch
import yaml
from grounding_toys import (
    SHORT_RECIPE as RECIPE,
)
from grounding_toys import (
    frame_rows,
    label_rows,
    query_rows,
    r_spec,
    r_values,
    write_feature,
    write_manifest,
    z_spec,
    z_values,
)

from visual_thought.pipeline import registry
from visual_thought.pipeline.cli import run as vtt
from visual_thought.pipeline.datasets.labels import write_labels
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.tensors import encode
from visual_thought.train.features import USUAL
from visual_thought.train.tasks.ground import GroundTask


class OtherTask:
    """A task that is not grounding: all it does, it has grounding do."""

    best_by, higher_is_better = GroundTask.best_by, GroundTask.higher_is_better

    def __init__(self, config, specs):
        self._task = GroundTask(config, specs)

    def __getattr__(self, name):
        return getattr(self._task, name)


@pytest.fixture
def train(toys, capsys):
    """``train(key=value, …, options=[…])`` -> exit code and what was said, by ``vtt train`` with that recipe."""

    def call(*options, **changes):
        recipe = toys / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(RECIPE | changes))
        places = ["--store", str(toys / "store"), "--manifest", str(toys / "toys.yaml"), "--out", str(toys / "run")]
        code = vtt(["train", str(recipe), *places, *options])
        return code, capsys.readouterr().err

    return call


def refused(toys, said, *words):
    """It said all three things, and wrote nothing."""
    lines = [line.strip() for line in said.splitlines()]
    for label in ("found:", "expected:", "to do:"):
        assert any(line.startswith(label) for line in lines), said
    assert [word for word in words if word not in said] == [], said
    assert not (toys / "run").exists()


def test_a_feature_that_the_store_lacks_is_named_with_what_is_there_and_what_makes_it(toys, train):
    code, said = train(features={"z": "z", "r": "e"})
    assert code == 2
    command = f"vtt extract {toys}/toys.yaml --store {toys}/store --backbone dinov2=facebook/dinov2-base --features e"
    refused(toys, said, "has no feature 'e'", z_spec().key, r_spec().key, f"`{command}`")


def test_the_command_repeats_the_backbone_that_made_the_other_features(toys, train):
    shutil.rmtree(toys / "store")
    store, rows = FeatureStore.create(toys / "store"), query_rows(frame_rows(1, 2))
    (plan,) = plan_array(store, z_spec(), rows)
    made = "vtt extract /lab/toys.yaml --store /lab/store --backbone /lab/xvla --backbone 'dinov2=/lab/dino?norm=final'"
    commit_part(store, plan, 0, encode(z_values(rows), z_spec()), info={"command": made})
    code, said = train(features={"z": "z", "r": "r"})
    assert code == 2
    refused(toys, said, f"--store {toys}/store --backbone /lab/xvla --features r`")
    assert "--backbone 'dinov2=/lab/dino?norm=final' --features e`" in train(features={"z": "z", "r": "e"})[1]


@pytest.mark.parametrize("feature", sorted(registry.MADE_BY))
def test_every_known_feature_is_made_by_the_backbone_that_is_named(feature):
    assert feature in registry.load("backbone", registry.MADE_BY[feature]).features


@pytest.mark.parametrize("kind", sorted(USUAL))
def test_the_usual_checkpoints_are_the_backbones_own(kind):
    assert registry.load("backbone", kind).checkpoint == USUAL[kind]


def test_a_fingerprint_that_is_not_the_recipe_s_ends_with_4(toys, train):
    code, said = train(fingerprints={"z": "0" * 64})
    assert code == 4
    refused(toys, said, z_spec().fingerprint, "0" * 64)


def test_a_run_is_not_resumed_on_features_that_something_else_made(toys, train):
    assert train()[0] == 0
    before = {path: path.read_bytes() for path in (toys / "run").rglob("*") if path.is_file()}
    shutil.rmtree(toys / "store")
    store, frames = FeatureStore.create(toys / "store"), frame_rows(6, 12)
    write_feature(store, z_spec(numerics=2), query_rows(frames), z_values(query_rows(frames)))
    write_feature(store, r_spec(), frames, r_values(frames))
    code, said = train("--resume")
    assert code == 4
    assert "numerics: 2 != 1" in said
    assert vtt(["eval", str(toys / "run"), "--no-figures"]) == 4
    assert {path: path.read_bytes() for path in (toys / "run").rglob("*") if path.is_file()} == before


def test_labels_without_rows_in_the_store_are_named(toys, train):
    write_labels(toys / "labels.parquet", label_rows(query_rows(frame_rows(6, 13))))
    code, said = train()
    assert code == 3
    refused(toys, said, "18 of 234 labels", "'frame_index': 12", "--allow-partial")


@pytest.mark.parametrize("empty", ["train", "val"])
def test_an_empty_split_is_named(toys, train, empty):
    write_manifest(toys, splits={"train": [0, 1], "val": [4], "test": [5]} | {empty: []})
    code, said = train()
    assert code == 3
    refused(toys, said, f"the split `{empty}`", "`splits` in the manifest")


def test_an_episode_in_train_and_in_val_is_named(toys, train):
    write_manifest(toys, splits={"train": [0, 1, 4], "val": [4], "test": [5]})
    code, said = train()
    assert code == 3
    refused(toys, said, "episode 4 in train and val")


def test_a_nan_in_a_feature_is_named_by_its_frame(toys, train):
    shutil.rmtree(toys / "store")
    store, frames = FeatureStore.create(toys / "store"), frame_rows(6, 12)
    values = r_values(frames)
    values[1 * 12 + 2, 0, 0, 0] = torch.nan
    write_feature(store, z_spec(), query_rows(frames), z_values(query_rows(frames)))
    write_feature(store, r_spec(), frames, values)
    code, said = train()
    assert code == 3
    refused(toys, said, r_spec().key, "1 rows of episodes 1", "'frame_index': 2", "--allow-nan")


def test_a_run_of_another_task_is_neither_resumed_nor_evaluated(toys, train, monkeypatch, capsys):
    monkeypatch.setitem(registry.TASKS, "other", "test_bad_input:OtherTask")
    assert train(task="other")[0] == 0
    before = {path: path.read_bytes() for path in (toys / "run").rglob("*") if path.is_file()}
    code, said = train("--resume")
    assert code == 2
    assert "is of another task" in said
    assert "task other" in said
    assert "task ground, which the recipe names" in said
    assert vtt(["eval", str(toys / "run")]) == 2
    said = capsys.readouterr().err
    assert "cannot be evaluated" in said
    assert "task other" in said
    assert {path: path.read_bytes() for path in (toys / "run").rglob("*") if path.is_file()} == before
