"""Stores whose extraction left out damaged episodes."""

import json

import pytest
from grounding_toys import config_for, frame_rows, label_rows, query_rows, write_manifest

from visual_thought.pipeline.datasets.labels import write_labels
from visual_thought.pipeline.errors import StoreIncomplete
from visual_thought.pipeline.record import read_record
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.skipped import Skipped, record_skipped
from visual_thought.train.run import train

LISTED = {"train": [0, 1, 6], "val": [2, 3], "test": [4, 5]}


@pytest.fixture
def skipping(toys):
    """The toys with labels of a seventh episode, which the extraction left out."""
    store = FeatureStore.open(toys / "store")
    repo_id = store.index("z")["repo_id"][0].as_py()
    write_labels(toys / "labels.parquet", label_rows(query_rows(frame_rows(7, 12))))
    write_manifest(toys, splits=LISTED)
    reason = "a video is damaged: episode 6, camera main, frame 3"
    record_skipped(store.layout, [Skipped(repo_id=repo_id, revision="local-0", episode_index=6, reason=reason)])
    return toys


def test_a_store_without_its_damaged_episode_is_refused_by_name(skipping):
    with pytest.raises(StoreIncomplete, match=r"lacks episodes 6[\s\S]*camera main, frame 3[\s\S]*--allow-skipped"):
        train(config_for(skipping))
    with pytest.raises(StoreIncomplete, match="lacks episodes 6"):
        train(config_for(skipping, loader={"allow_partial": True}))
    assert not (skipping / "run").exists()


def test_it_is_trained_on_when_told_so_and_the_record_says_which_episodes(skipping):
    train(config_for(skipping, loader={"allow_skipped": True}, steps=2))
    record = read_record(skipping / "run" / "run.json")
    assert {name: record.splits[name]["episodes"] for name in LISTED} == LISTED | {"train": [0, 1]}
    assert record.splits["left_out"] == {"examples": 0}
    assert 6 not in record.manifest["episodes"]


def test_leaving_an_episode_out_moves_no_other_to_another_split(skipping):
    write_manifest(skipping, splits={"seed": 3, "val": 0.3, "test": 0.3})
    options = {"steps": 2, "loader": {"allow_skipped": True}}
    train(config_for(skipping, **options))
    left = read_record(skipping / "run" / "run.json").splits
    from visual_thought.pipeline.manifest import assign_splits, load_manifest

    whole = assign_splits(load_manifest(skipping / "toys.yaml"), range(7))
    for name, episodes in whole.items():
        assert left[name]["episodes"] == [episode for episode in episodes if episode != 6]


def test_a_manifest_without_the_damaged_episode_needs_no_permission(skipping):
    write_manifest(skipping, splits={**LISTED, "train": [0, 1]}, episodes=[0, 1, 2, 3, 4, 5])
    train(config_for(skipping, steps=2))


def test_permission_to_skip_is_no_permission_to_miss_a_part(skipping):
    array = next(array for array in FeatureStore.open(skipping / "store").arrays() if array.spec.name == "z")
    array.receipt_path(1).unlink()
    with pytest.raises(StoreIncomplete, match="only partly extracted"):
        train(config_for(skipping, loader={"allow_skipped": True}))


def test_a_damaged_record_of_skipped_episodes_is_refused(skipping):
    (path,) = (skipping / "store/skipped").glob("*.json")
    path.chmod(0o640)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"episode_index": 5}))
    with pytest.raises(Exception, match="changed after it was written"):
        train(config_for(skipping, loader={"allow_skipped": True}))
