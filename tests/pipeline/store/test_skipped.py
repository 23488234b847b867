"""What a store says of the episodes that an extraction left out."""

import json

import pytest

from visual_thought.pipeline.errors import StoreCorrupt
from visual_thought.pipeline.place import StoreUrl
from visual_thought.pipeline.store.merge import merge
from visual_thought.pipeline.store.repair import repair
from visual_thought.pipeline.store.selection import Selection
from visual_thought.pipeline.store.share import pull, push
from visual_thought.pipeline.store.skipped import Skipped, read_skipped, record_skipped
from visual_thought.pipeline.store.store import FeatureStore
from visual_thought.pipeline.store.usage import measure
from visual_thought.pipeline.store.verify import verify

from .maintained import a_store

ONE = Skipped(repo_id="lab/cubes", revision="local-1", episode_index=7, reason="a video is damaged")


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    opened = FeatureStore.open(a_store(tmp_path / "store").path)
    record_skipped(opened.layout, [ONE])
    return opened


def test_an_episode_is_written_down_once_a_revision(store):
    record_skipped(store.layout, [ONE, ONE.model_copy(update={"reason": "said otherwise"})])
    assert read_skipped(store.layout) == [ONE]
    moved = ONE.model_copy(update={"revision": "local-2"})
    record_skipped(store.layout, [moved])
    assert read_skipped(store.layout) == [ONE, moved]


@pytest.mark.parametrize("change", [{"episode_index": 8}, {"more": 1}, {"reason": 3}, {"schema_version": 99}])
def test_a_changed_file_is_found_and_repaired(store, change):
    path = store.layout.skipped_file(ONE.name)
    path.chmod(0o640)
    path.write_text(json.dumps(ONE.to_json() | change))
    with pytest.raises(StoreCorrupt):
        read_skipped(store.layout)
    (problem,) = verify(store.path).problems
    assert (problem.kind, problem.path) == ("skipped", path)
    repair(store.path)
    assert verify(store.path).problems == ()
    assert (store.path / "quarantine/skipped" / path.name).is_file()


def test_it_goes_where_the_rows_go(store, tmp_path):
    merge(tmp_path / "merged", [store.path])
    assert read_skipped(FeatureStore.open(tmp_path / "merged").layout) == [ONE]
    url = StoreUrl(f"file://{tmp_path}/remote", tmp_path / "cache")
    push(store.path, url, Selection())
    assert read_skipped(FeatureStore.open(url).layout) == [ONE]
    pull(url, tmp_path / "pulled", Selection())
    assert read_skipped(FeatureStore.open(tmp_path / "pulled").layout) == [ONE]
    assert measure(store.path).files["skipped"] == 1
