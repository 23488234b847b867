import hashlib
import threading

import numpy as np
import pyarrow as pa
import pytest

from visual_thought.pipeline.errors import StoreCorrupt, StoreError, StoreIncomplete, StoreMismatch
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.receipt import read_receipt

from .toys import (
    FORMAT_NAMES,
    a_spec,
    files_below,
    filled_store,
    overwrite,
    read_all,
    some_frames,
    some_values,
)


@pytest.fixture(params=FORMAT_NAMES)
def planned(request, tmp_path):
    store = FeatureStore.create(tmp_path / "store")
    (plan,) = plan_array(store, a_spec(), some_frames(), store_format=request.param)
    return store, plan


def some_pixels(rows):
    return pa.table(
        {"pts_s": [row / 10 for row in range(rows)], "pixels_sha256": [f"{row:064x}" for row in range(rows)]}
    )


def test_a_receipt_describes_the_bytes_on_disk(planned):
    store, plan = planned
    (array,) = store.arrays()
    values = some_values(a_spec(), 44)
    receipt = commit_part(store, plan, 2, values, info={"seconds": {"forward": 0.5}})
    data = array.part_path(2).read_bytes()
    assert (receipt.row_start, receipt.row_stop) == (256, 300)
    assert (receipt.bytes, receipt.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (receipt.nan_count, receipt.inf_count, receipt.frames_sha256) == (0, 0, None)
    assert receipt.info == {"seconds": {"forward": 0.5}}
    assert read_receipt(store.path, array.receipt_path(2)) == receipt


def test_not_finite_numbers_are_counted_and_kept(planned):
    store, plan = planned
    values = some_values(a_spec(), 128)
    values[3, 0, 0], values[4] = 0x7FC0, 0xFF80
    receipt = commit_part(store, plan, 0, values)
    assert (receipt.nan_count, receipt.inf_count) == (1, 12)
    with store.reader("z", allow_partial=True) as reader:
        out = np.empty((2, 3, 4), np.uint16)
        reader.read_into(np.array([3, 4]), out)
    assert out.tobytes() == values[3:5].tobytes()


def test_committing_again_returns_the_first_receipt_and_changes_nothing(planned):
    store, plan = planned
    first = commit_part(store, plan, 0, some_values(a_spec(), 128), info={"host": "a"})
    before = files_below(store.path)
    assert commit_part(store, plan, 0, some_values(a_spec(), 128, seed=1), info={"host": "b"}) == first
    assert files_below(store.path) == before


def test_a_file_without_receipt_is_not_a_part_and_its_bytes_win(planned):
    store, plan = planned
    (array,) = store.arrays()
    theirs = some_values(a_spec(), 128, seed=1)
    commit_part(store, plan, 0, theirs)
    array.receipt_path(0).unlink()
    assert store.status("z").present == 0
    receipt = commit_part(store, plan, 0, some_values(a_spec(), 128))
    assert receipt.sha256 == hashlib.sha256(array.part_path(0).read_bytes()).hexdigest()
    with store.reader("z", allow_partial=True) as reader:
        out = np.empty((128, 3, 4), np.uint16)
        reader.read_into(np.arange(128), out)
    assert out.tobytes() == theirs.tobytes()


def test_a_damaged_file_without_receipt_is_refused(planned):
    store, plan = planned
    (array,) = store.arrays()
    array.part_path(0).write_bytes(b"torn")
    with pytest.raises(StoreCorrupt, match="delete that file"):
        commit_part(store, plan, 0, some_values(a_spec(), 128))
    assert store.status("z").present == 0
    array.part_path(0).unlink()
    commit_part(store, plan, 0, some_values(a_spec(), 128))


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((127, 3, 4), np.uint16),
        np.zeros((128, 4, 3), np.uint16),
        np.zeros((128, 3, 4), np.int16),
        np.zeros((128, 3, 4), np.float32),
    ],
)
def test_values_that_do_not_fit_are_refused_and_nothing_written(planned, values):
    store, plan = planned
    before = files_below(store.path)
    with pytest.raises(StoreError, match="do not fit"):
        commit_part(store, plan, 0, values)
    assert files_below(store.path) == before


def test_a_part_the_plan_does_not_have_is_refused(planned):
    store, plan = planned
    for part in (-1, 3):
        with pytest.raises(StoreError, match="no part"):
            commit_part(store, plan, part, some_values(a_spec(), 128))


def test_strided_values_are_stored_as_they_look(planned):
    store, plan = planned
    values = some_values(a_spec(shape=(4, 3)), 44).transpose(0, 2, 1)
    commit_part(store, plan, 2, values)
    with store.reader("z", allow_partial=True) as reader:
        out = np.empty((44, 3, 4), np.uint16)
        reader.read_into(np.arange(256, 300), out)
    assert (out == values).all()


def test_frames_stand_beside_the_receipt_and_are_named_by_it(planned):
    store, plan = planned
    (array,) = store.arrays()
    receipt = commit_part(store, plan, 2, some_values(a_spec(), 44), frames=some_pixels(44))
    path = store.layout.frames_file(array.index_id, array.key, 2)
    assert receipt.frames_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    found = store.frames("z")
    assert found.column_names == [*store.index("z").column_names, "pts_s", "pixels_sha256"]
    assert found["frame_index"].to_pylist() == list(range(56, 100))
    assert found.select(["pts_s", "pixels_sha256"]).equals(some_pixels(44))


@pytest.mark.parametrize(
    "frames",
    [
        some_pixels(43),
        some_pixels(44).drop(["pts_s"]),
        pa.table({"pts_s": ["x"] * 44, "pixels_sha256": ["y"] * 44}),
        pa.table({"pts_s": [None] * 44, "pixels_sha256": ["y"] * 44}),
    ],
)
def test_frames_of_another_form_are_refused_and_no_part_appears(planned, frames):
    store, plan = planned
    with pytest.raises(StoreError, match="frames"):
        commit_part(store, plan, 2, some_values(a_spec(), 44), frames=frames)
    assert store.status("z").present == 0


def test_another_feature_under_the_same_name_on_disk_is_refused(planned):
    store, plan = planned
    (array,) = store.arrays()
    other = type(array.meta)(a_spec(tier="fp32"), plan.index_id, 300)
    overwrite(array.path / array.format.metadata_name, array.format.describe(other))
    with pytest.raises(StoreMismatch, match="tier"):
        commit_part(store, plan, 0, some_values(a_spec(), 128))


def test_racing_threads_agree_on_every_part(planned):
    store, plan = planned
    (array,) = store.arrays()
    start, receipts = threading.Barrier(4), [[] for _ in range(4)]

    def write(writer):
        mine = FeatureStore.open(store.path)
        values = some_values(a_spec(), seed=writer)
        start.wait()
        for part in plan.missing:
            rows = plan.part_range(part)
            receipts[writer].append(commit_part(mine, plan, part, values[rows.start : rows.stop], info={"n": writer}))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert receipts[0] == receipts[1] == receipts[2] == receipts[3]
    for part, receipt in enumerate(receipts[0]):
        assert receipt.sha256 == hashlib.sha256(array.part_path(part).read_bytes()).hexdigest()
    found, all_values = read_all(store), [some_values(a_spec(), seed=writer) for writer in range(4)]
    for part in range(3):
        rows = slice(plan.part_range(part).start, plan.part_range(part).stop)
        assert sum((found[rows] == values[rows]).all() for values in all_values) == 1


def test_nothing_but_committed_files_stays(tmp_path):
    store, _ = filled_store(tmp_path / "store")
    assert not [name for name in files_below(store.path) if "tmp" in name]
    assert len(files_below(store.path)) == 1 + 1 + 1 + 1 + 3 + 3


def test_a_frames_table_that_was_changed_is_refused(planned):
    store, plan = planned
    (array,) = store.arrays()
    commit_part(store, plan, 2, some_values(a_spec(), 44), frames=some_pixels(44))
    path = store.layout.frames_file(array.index_id, array.key, 2)
    data = path.read_bytes()
    overwrite(path, data[:-1] + b"x")
    with pytest.raises(StoreCorrupt, match="not the table"):
        store.frames("z")
    path.unlink()
    with pytest.raises(StoreIncomplete, match="missing"):
        store.frames("z")
