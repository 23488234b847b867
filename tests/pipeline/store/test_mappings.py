"""Rows that were read before come from mapped parts, where that is safe, and are the same rows."""

import json

import numpy as np
import pytest

from visual_thought.pipeline.errors import StoreCorrupt
from visual_thought.pipeline.store import mappings
from visual_thought.pipeline.store.mappings import LOOK_EVERY

from .lanes import FORMATS_IN_TURN
from .processes import run
from .reads import Preads, is_mapped, read
from .tiers import a_store, stored
from .toys import ROWS, filled_store, row_spans

ALL = range(ROWS)
PLAIN = ["bf16", "fp32", "int8", "bf16 in hdf5", "fp32 in hdf5", "int8 in hdf5"]
PACKED = ["bf16 packed", "fp32 packed", "int8 packed"]


@pytest.fixture(params=FORMATS_IN_TURN)
def filled(request, tmp_path):
    """A store, its values, and the files of its parts."""
    store, values = filled_store(tmp_path / "store", store_format=request.param)
    (array,) = store.arrays()
    return store, values, [array.part_path(part) for part in range(3)]


def flip_in_place(path, offset):
    """Change one byte of a file that is open and mapped."""
    path.chmod(0o640)
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("kind", PLAIN)
def test_known_rows_come_without_a_read_and_are_the_same(tmp_path, monkeypatch, kind):
    store, _ = a_store(tmp_path / "store", kind)
    whole, rng = stored(store, engine="library"), np.random.default_rng(0)
    for verify in ("first", "always", "never"):
        with store.reader("z", engine="direct", verify=verify) as reader, monkeypatch.context() as patch:
            assert read(reader, ALL).tobytes() == whole.tobytes()
            calls = Preads(patch)
            for _ in range(2 * LOOK_EVERY + 1):
                rows = rng.integers(0, ROWS, 20)
                assert read(reader, rows).tobytes() == whole[rows].tobytes()
            assert not calls
            assert is_mapped(store.arrays()[0].part_path(0))


def test_a_batch_of_known_and_new_rows_reads_the_new_ones_only(filled, monkeypatch):
    store, values, _ = filled
    with store.reader("z", engine="direct") as reader:
        read(reader, range(100))
        calls = Preads(monkeypatch)
        rows = [99, 100, 101, 3, 200, 100, 42]
        assert (read(reader, rows) == values[rows]).all()
        assert [call.bytes // 24 for call in calls] == [2, 1, 1]
        assert (read(reader, rows) == values[rows]).all()
        assert len(calls) == 3


def test_closing_lets_go_of_what_is_mapped(filled):
    store, _, paths = filled
    with store.reader("z", engine="direct") as reader:
        assert not any(map(is_mapped, paths))
        for _ in range(2):
            read(reader, ALL)
        assert all(map(is_mapped, paths))
    assert not any(map(is_mapped, paths))


@pytest.mark.parametrize("kind", PACKED)
def test_compressed_rows_are_never_mapped(tmp_path, monkeypatch, kind):
    store, _ = a_store(tmp_path / "store", kind)
    with store.reader("z", engine="direct") as reader:
        whole, calls = read(reader, ALL), Preads(monkeypatch)
        assert read(reader, ALL).tobytes() == whole.tobytes()
        assert len(calls) == ROWS
        assert not is_mapped(store.arrays()[0].part_path(0))


def test_a_store_that_takes_too_much_of_the_memory_is_never_mapped(filled, monkeypatch):
    store, values, paths = filled
    needed = sum(path.stat().st_size for path in paths)
    monkeypatch.setattr(mappings, "available_memory", lambda: 4 * needed - 4)
    never_mapped(store, values, paths, monkeypatch)


def test_a_store_that_just_fits_is_mapped(filled, monkeypatch):
    store, values, paths = filled
    monkeypatch.setattr(mappings, "available_memory", lambda: 4 * sum(path.stat().st_size for path in paths))
    with store.reader("z", engine="direct") as reader:
        for _ in range(2):
            assert (read(reader, ALL) == values).all()
        assert all(map(is_mapped, paths))


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", "lustre", "9p", None])
def test_what_others_may_change_is_never_mapped(filled, monkeypatch, kind):
    monkeypatch.setattr(mappings, "file_system", lambda device: kind)
    never_mapped(*filled, monkeypatch)


def never_mapped(store, values, paths, monkeypatch):
    with store.reader("z", engine="direct") as reader:
        calls = Preads(monkeypatch)
        for _ in range(3):
            assert (read(reader, ALL) == values).all()
        assert len(calls) == 9
        assert not any(map(is_mapped, paths))


def test_a_bit_that_flips_after_the_first_read_is_found_by_always_and_promised_by_nothing_else(filled):
    store, values, paths = filled
    offset, rows = int(row_spans(store.arrays()[0], 1)[7, 0]) + 5, [135, 12]
    with (
        store.reader("z", verify="first") as first,
        store.reader("z", verify="always") as always,
        store.reader("z", verify="never") as never,
    ):
        for reader in (first, always, never):
            for _ in range(2):
                assert (read(reader, ALL) == values).all()
        flip_in_place(paths[1], offset)
        for _ in range(2):
            with pytest.raises(StoreCorrupt, match="row 135 in part 000001"):
                read(always, rows)
        for reader in (first, never):
            found = read(reader, rows)
            assert (found != values[rows]).sum() == 1
            assert (found[1] == values[12]).all()
        flip_in_place(paths[1], offset)
        assert (read(always, ALL) == values).all()
    with store.reader("z", verify="first") as later:
        assert (read(later, rows) == values[rows]).all()


def test_a_file_cut_short_after_it_was_mapped_is_noticed_when_its_size_is_looked_at(filled):
    """In a process of its own, since whoever copies from a mapping that lost its file dies of SIGBUS."""
    store, _, paths = filled
    part, row = 2, 5
    keep = int(row_spans(store.arrays()[0], part)[row, 0]) + 3
    told = json.loads(run("truncating.py", store.path, paths[part], part, keep))
    assert told["mapped"]
    assert told["errors"] == 3 * [f"ends inside row {part * 128 + row}"]
    assert told["rows before the cut"] == "right"
    assert told["other parts"] == "right"
    assert told["last row"] == "an error"
