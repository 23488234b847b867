"""What the direct reader asks the system for, and what it makes of short and failing answers."""

import json

import pytest

from visual_thought.pipeline.errors import StoreCorrupt
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.direct import RUN_BYTES

from .processes import run
from .reads import Preads, read
from .tiers import a_store, stored
from .toys import (
    FORMAT_NAMES,
    ROWS,
    a_spec,
    fill,
    filled_store,
    flip,
    overwrite,
    row_spans,
    some_frames,
    some_row_bits,
    some_values,
)

GAPS = {"zarr": 4, "hdf5": 0}
ROW = 24  # bytes of a toy row


@pytest.fixture(params=FORMAT_NAMES)
def filled(request, tmp_path):
    """A store, its values, and the bytes between two of its rows."""
    return *filled_store(tmp_path / "store", store_format=request.param), GAPS[request.param]


@pytest.mark.parametrize(
    ("rows", "runs"),
    [
        (range(5, 25), [20]),
        (range(120, 140), [8, 12]),
        (range(ROWS), [128, 128, 44]),
        ([5, 5, 6, 5], [1, 2, 1]),
        ([9, 8, 7], [1, 1, 1]),
        ([0, 2, 4], [1, 1, 1]),
        ([10, 11, 200, 201, 202, 12], [2, 3, 1]),
        ([127, 128], [1, 1]),
    ],
)
def test_neighbours_in_a_file_are_one_read(filled, monkeypatch, rows, runs):
    store, values, gap = filled
    with store.reader("z", engine="direct") as reader:
        calls = Preads(monkeypatch)
        assert (read(reader, rows) == values[list(rows)]).all()
    assert [call.bytes for call in calls] == [run * ROW + (run - 1) * gap for run in runs]
    assert [call.pieces for call in calls] == [2 * run - 1 if gap else run for run in runs]


@pytest.mark.parametrize("store_format", FORMAT_NAMES)
def test_a_read_of_neighbours_ends_at_a_megabyte(tmp_path, monkeypatch, store_format):
    spec = a_spec(shape=(300, 512))  # three rows a megabyte
    store, values = FeatureStore.create(tmp_path / "store"), some_values(spec, 11)
    fill(store, spec, some_frames(11), values, store_format=store_format)
    with store.reader("z", engine="direct") as reader:
        calls = Preads(monkeypatch)
        assert (read(reader, range(11)) == values).all()
    gap = GAPS[store_format]
    assert [call.bytes for call in calls] == [run * spec.row_bytes + (run - 1) * gap for run in (3, 3, 3, 2)]
    assert all(call.bytes - 2 * gap <= RUN_BYTES for call in calls)


def test_a_row_longer_than_that_is_one_read(tmp_path, monkeypatch):
    spec = a_spec(shape=(1100, 512))
    store, values = FeatureStore.create(tmp_path / "store"), some_values(spec, 3)
    fill(store, spec, some_frames(3), values)
    with store.reader("z", engine="direct") as reader:
        calls = Preads(monkeypatch)
        assert (read(reader, range(3)) == values).all()
    assert [call.bytes for call in calls] == 3 * [spec.row_bytes]


@pytest.mark.parametrize("store_format", FORMAT_NAMES)
def test_the_largest_part_is_one_call_of_the_system(tmp_path, monkeypatch, store_format):
    """512 rows and what lies between them are 1,023 pieces; a call takes 1,024."""
    store, values = FeatureStore.create(tmp_path / "store"), some_values(a_spec(), 512)
    fill(store, a_spec(), some_frames(512), values, store_format=store_format, part_rows=512)
    with store.reader("z", engine="direct") as reader:
        calls = Preads(monkeypatch)
        assert (read(reader, range(512)) == values).all()
    assert len(calls) == 1


def test_compressed_rows_are_a_read_each(tmp_path, monkeypatch):
    store, _ = a_store(tmp_path / "store", "bf16 packed")
    with store.reader("z", engine="direct") as reader:
        calls = Preads(monkeypatch)
        read(reader, range(20))
        sizes = [int(size) for _, size in row_spans(store.arrays()[0], 0)[:20]]
    assert [(call.bytes, call.pieces) for call in calls] == [(size + 4, 1) for size in sizes]


@pytest.mark.parametrize("most", [1, 23, 24, 25, 27, 28, 29, 100])
def test_short_reads_are_continued_where_they_ended(filled, monkeypatch, most):
    store, values, _ = filled
    rows = [3, 4, 5, 6, 120, 127, 128, 129]
    with store.reader("z", engine="direct", verify="always") as reader:
        Preads(monkeypatch, most=most)
        assert (read(reader, rows) == values[rows]).all()


def test_short_reads_of_compressed_rows_are_continued(tmp_path, monkeypatch):
    store, _ = a_store(tmp_path / "store", "fp32 packed")
    whole = stored(store, engine="library")
    with store.reader("z", engine="direct") as reader:
        Preads(monkeypatch, most=5)
        assert read(reader, range(120, 136)).tobytes() == whole[120:136].tobytes()


@pytest.mark.parametrize(("failing", "row"), [(0, 5), (1, 128), (2, 256)])
def test_a_disk_that_fails_is_named_with_part_and_row_and_asked_again_later(filled, monkeypatch, failing, row):
    store, values, _ = filled
    with store.reader("z", engine="direct") as reader:
        Preads(monkeypatch, failing=failing)
        with pytest.raises(
            StoreCorrupt, match=f"part 00000{failing} of z-.* cannot be read from row {row} on"
        ) as error:
            read(reader, range(5, ROWS))
        assert error.value.found == "Input/output error"
        assert (read(reader, range(5, ROWS)) == values[5:]).all()


def test_rows_of_a_failed_read_are_not_taken_for_verified(filled, monkeypatch):
    store, _, _ = filled
    array = store.arrays()[0]
    with store.reader("z", engine="direct", verify="first") as reader:
        Preads(monkeypatch, failing=2)
        with pytest.raises(StoreCorrupt, match="cannot be read"):
            read(reader, range(ROWS))
        flip(array.part_path(0), some_row_bits(array, 0, 1)[0])
        with pytest.raises(StoreCorrupt, match="receipt describes"):
            read(reader, range(ROWS))


def test_a_part_that_is_cut_short_names_the_first_row_that_is_not_whole(filled):
    store, values, gap = filled
    path = store.arrays()[0].part_path(0)
    data, start = path.read_bytes(), int(row_spans(store.arrays()[0], 0)[0, 0])
    for row, more in [(0, 0), (3, 1), (3, ROW - 1), (4, -gap), (127, ROW - 1)]:
        overwrite(path, data)
        with store.reader("z", engine="direct", verify="never") as reader:
            overwrite(path, data[: start + row * (ROW + gap) + more])
            with pytest.raises(
                StoreCorrupt, match=f"part 000000 of z-.* ends inside row {row}$|ends inside row {row}\n"
            ):
                read(reader, range(128))
            if row:
                assert (read(reader, range(row)) == values[:row]).all()


def test_readers_of_many_parts_together_leave_the_process_files_to_open(tmp_path):
    store, values = FeatureStore.create(tmp_path / "store"), some_values(a_spec(), ROWS)
    fill(store, a_spec(), some_frames(), values, part_rows=10)
    limit, readers = 100, 4
    told = json.loads(run("many_files.py", store.path, limit, readers))
    assert told["wrong"] == 0
    assert told["after"] == told["before"]
    assert 0.3 * limit < told["most"] <= 0.75 * limit
