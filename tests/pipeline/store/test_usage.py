import json

import pytest

from visual_thought.pipeline.errors import StoreError
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.repair import repair
from visual_thought.pipeline.store.usage import measure

from .maintained import HARMS, a_store, array_of
from .toys import FORMAT_NAMES, a_spec


def on_disk(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.fixture(params=FORMAT_NAMES)
def store(tmp_path, request):
    return a_store(tmp_path / "store", request.param)


def test_every_byte_is_counted_once(store):
    usage = measure(store.path)
    assert usage.total == on_disk(store.path)
    assert sum(usage.files.values()) == sum(path.is_file() for path in store.path.rglob("*"))
    for kind in ("arrays", "receipts", "indexes"):
        assert usage.bytes[kind] == on_disk(store.path / kind)
    assert usage.bytes["quarantine"] == usage.bytes["temporary"] == 0
    assert usage.features.keys() == {a_spec("e").key, a_spec().key}
    assert sum(usage.features.values()) == usage.bytes["arrays"] + usage.bytes["receipts"]


def test_temporary_and_quarantined_files_are_kinds_of_their_own(store):
    z = array_of(store)
    (z.path / ".part.tmp").write_bytes(b"12345")
    HARMS["part cut"][1](store, z)
    repair(store.path)
    usage = measure(store.path)
    assert usage.bytes["temporary"] == 5
    assert usage.bytes["quarantine"] == on_disk(store.path / "quarantine") > 0


def test_damage_is_no_hindrance(store):
    z = array_of(store)
    for harm in ("metadata changed", "receipt flipped", "index missing", "a link"):
        HARMS[harm][1](store, z)
    assert measure(store.path).bytes["arrays"] > 0


def test_an_empty_store_has_a_table_too(tmp_path):
    usage = measure(FeatureStore.create(tmp_path / "store").path)
    assert (usage.features, usage.files["other"]) == ({}, 1)
    assert "in 1 file" in usage.render()


def test_it_is_said_as_a_table_and_as_json(store):
    usage = measure(store.path)
    text = usage.render()
    assert text.splitlines()[0].startswith(f"{store.path}: ")
    assert text.index(a_spec().key) < text.index(a_spec("e").key)  # the larger one first
    assert json.loads(json.dumps(usage.to_json()))["kinds"]["arrays"] == usage.bytes["arrays"]


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no feature store"):
        measure(tmp_path)
