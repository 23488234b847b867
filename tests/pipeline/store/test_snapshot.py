import json

import pytest

from visual_thought.pipeline.errors import StoreCorrupt, StoreIncomplete
from visual_thought.pipeline.spec import canonical_json, sha256_json
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.receipt import read_receipt
from visual_thought.pipeline.store.snapshot import read_snapshot, read_snapshots, seal, snapshot_file

from .lanes import FORMATS_IN_TURN
from .maintained import HARMS, a_store, array_of, extract
from .toys import a_spec, files_below, flip, overwrite, some_bits


@pytest.fixture(params=FORMATS_IN_TURN)
def store(tmp_path, request):
    return a_store(tmp_path / "store", request.param)


def rewrite(path, **changes):
    """A snapshot with other fields and a checksum that fits them."""
    fields = json.loads(path.read_bytes()) | changes
    fields.pop("checksum")
    overwrite(path, (canonical_json(fields | {"checksum": sha256_json(fields)}) + "\n").encode())


def test_a_snapshot_lists_every_finished_part(store):
    snapshot = seal(store.path)
    assert [snapshot] == read_snapshots(store.layout)
    assert (snapshot.number, snapshot.complete) == (1, False)
    assert [(array.feature, array.complete, len(array.parts)) for array in snapshot.arrays] == [
        (a_spec("e").key, False, 2),
        (a_spec().key, True, 3),
    ]
    z = array_of(store)
    for part in snapshot.arrays[1].parts:
        receipt = read_receipt(store.path, z.receipt_path(part.part))
        assert (part.bytes, part.sha256, part.frames_sha256) == (receipt.bytes, receipt.sha256, receipt.frames_sha256)
    assert snapshot.indexes == (z.index_id,)


def test_sealing_changes_nothing_but_adds_one_file(store):
    before = files_below(store.path)
    seal(store.path)
    after = files_below(store.path)
    assert set(after) - set(before) == {"snapshots/0001.json"}
    assert before.items() <= after.items()


def test_a_store_that_did_not_change_is_not_sealed_again(store):
    assert seal(store.path) == seal(store.path)
    extract(store, a_spec("e", tier="fp32", shape=(5,)), parts=[1])
    assert seal(store.path).number == 2
    assert [snapshot.number for snapshot in read_snapshots(store.layout)] == [1, 2]
    assert read_snapshots(store.layout)[1].complete


def test_a_number_that_somebody_took_is_left_to_them(store, monkeypatch):
    seal(store.path)
    theirs = snapshot_file(store.layout, 1).read_bytes()
    extract(store, a_spec("e", tier="fp32", shape=(5,)), parts=[1])
    monkeypatch.setattr("visual_thought.pipeline.store.snapshot._next_number", lambda layout: 1)
    assert seal(store.path).number == 2
    assert snapshot_file(store.layout, 1).read_bytes() == theirs


def test_a_store_without_a_finished_part_is_not_sealed(tmp_path):
    store = FeatureStore.create(tmp_path / "store")
    extract(store, parts=[])
    before = files_below(store.path)
    with pytest.raises(StoreIncomplete, match="no finished part"):
        seal(store.path)
    assert files_below(store.path) == before


@pytest.mark.parametrize("harm", ["part missing", "part cut", "receipt flipped", "frames missing", "metadata changed"])
def test_a_damaged_store_is_not_sealed(store, harm):
    HARMS[harm][1](store, array_of(store))
    before = files_below(store.path)
    with pytest.raises(StoreCorrupt, match="cannot be sealed"):
        seal(store.path)
    assert files_below(store.path) == before


def test_every_flipped_bit_of_a_snapshot_is_found(store):
    seal(store.path)
    path = snapshot_file(store.layout, 1)
    for bit in some_bits(path, 60):
        flip(path, bit)
        with pytest.raises(StoreCorrupt):
            read_snapshot(store.layout, 1)
        flip(path, bit)
    assert read_snapshot(store.layout, 1).number == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"number": 2},
        {"number": "1"},
        {"extra": 1},
        {"schema_version": 99},
        {"indexes": []},
        {"indexes": ["../../../../etc/x"]},
        {"arrays": [{}]},
        {"arrays": None},
    ],
)
def test_a_snapshot_with_impossible_fields_is_refused_whatever_its_checksum(store, changes):
    seal(store.path)
    rewrite(snapshot_file(store.layout, 1), **changes)
    with pytest.raises(StoreCorrupt):
        read_snapshot(store.layout, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda array: array.update(complete=not array["complete"]),
        lambda array: array.update(format="pickle"),
        lambda array: array["parts"].append(array["parts"][0]),
        lambda array: array["parts"][0].update(part=999_999),
        lambda array: array["parts"][0].update(sha256="0" * 63),
        lambda array: array["parts"][0].update(bytes=0),
    ],
)
def test_an_impossible_list_of_parts_is_refused(store, change):
    seal(store.path)
    path = snapshot_file(store.layout, 1)
    arrays = json.loads(path.read_bytes())["arrays"]
    change(arrays[0])
    rewrite(path, arrays=arrays)
    with pytest.raises(StoreCorrupt):
        read_snapshot(store.layout, 1)


def test_nesting_without_end_is_no_snapshot(store):
    seal(store.path)
    overwrite(snapshot_file(store.layout, 1), b"[" * 100_000)
    with pytest.raises(StoreCorrupt):
        read_snapshot(store.layout, 1)
