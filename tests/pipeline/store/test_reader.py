import os
import resource
import shutil
import threading

import numpy as np
import pytest
import torch

from visual_thought.pipeline.errors import StoreCorrupt, StoreError, StoreIncomplete
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store import parts as parts_module

from .toys import (
    FORMAT_NAMES,
    a_spec,
    fill,
    filled_store,
    flip,
    overwrite,
    read_all,
    row_spans,
    some_bits,
    some_frames,
    some_row_bits,
    some_values,
)

ORDERS = {
    "all": np.arange(300),
    "backwards": np.arange(300)[::-1],
    "random": np.random.default_rng(0).integers(0, 300, 500),
    "repeats": np.array([5, 5, 6, 5, 299, 299]),
    "across parts": np.arange(120, 140),
    "every other": np.arange(0, 300, 2),
    "one": np.array([256]),
    "none": np.array([], np.int64),
    "narrow": np.array([3, 250], np.uint16),
}


@pytest.fixture(params=FORMAT_NAMES)
def store_format(request):
    return request.param


@pytest.fixture
def filled(tmp_path, store_format):
    return filled_store(tmp_path / "store", store_format=store_format)


@pytest.mark.parametrize("order", sorted(ORDERS))
@pytest.mark.parametrize("tier", ["bf16", "fp32"])
@pytest.mark.parametrize("verify", ["first", "always", "never"])
def test_reading_equals_fancy_indexing(tmp_path, store_format, tier, verify, order):
    store, values = filled_store(tmp_path / "store", tier=tier, store_format=store_format)
    rows = ORDERS[order]
    with store.reader("z", verify=verify) as reader:
        out = np.empty((len(rows), 3, 4), values.dtype)
        for _ in range(2):
            out.view(np.uint8)[:] = 0xAB
            reader.read_into(rows, out)
            assert out.tobytes() == values[rows].tobytes()
        assert (reader.num_rows, reader.spec.shape, reader.dtype) == (300, (3, 4), values.dtype)


def test_several_indexes_read_as_one(tmp_path, store_format):
    store, values = FeatureStore.create(tmp_path / "store"), {}
    for stop in (150, 170, 320):
        for plan in plan_array(store, a_spec(), some_frames(stop), store_format=store_format):
            if plan.missing:
                values[plan.index_id] = some_values(a_spec(), plan.table.num_rows, seed=stop)
                for part in plan.missing:
                    rows = plan.part_range(part)
                    commit_part(store, plan, part, values[plan.index_id][rows.start : rows.stop])
    assert read_all(store).tobytes() == np.concatenate([values[index_id] for index_id in sorted(values)]).tobytes()
    assert store.index("z").num_rows == 320


def test_any_number_of_threads_may_read_at_once(filled):
    store, values = filled
    with store.reader("z") as reader:
        wrong = []

        def read(seed):
            out, generator = np.empty((32, 3, 4), np.uint16), np.random.default_rng(seed)
            for _ in range(50):
                rows = generator.integers(0, 300, 32)
                reader.read_into(rows, out)
                wrong.extend([seed] * (out.tobytes() != values[rows].tobytes()))

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def open_files() -> set[str]:
    """The numbers of this process's open files, without the one that lists them."""
    return {fd for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")}


def test_a_store_of_more_parts_than_files_may_be_open_reads_all_the_same(tmp_path, store_format):
    spec, store = a_spec(shape=(2,)), FeatureStore.create(tmp_path / "store")
    values, frames = some_values(spec, 40 * 128), some_frames(40 * 128)
    fill(store, spec, frames, values, store_format=store_format)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, open_files())) + 64, hard))
    try:
        before, limit = open_files(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        with store.reader("z") as reader:
            assert all(int(kept) < limit // 2 for kept in open_files() - before)
            out = np.empty((len(values), 2), np.uint16)
            for _ in range(2):
                reader.read_into(np.arange(len(values)), out)
                assert out.tobytes() == values.tobytes()
        assert open_files() == before
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_short_reads_are_continued(filled):
    (array,) = filled[0].arrays()
    buffers = [np.empty(5, np.uint8), np.empty(7, np.uint8), np.empty(3, np.uint8)]
    assert [len(buffer) for buffer in parts_module._after(buffers, 6)] == [6, 3]
    assert [len(buffer) for buffer in parts_module._after(buffers, 12)] == [3]
    with array.part_path(0).open("rb") as file:
        assert parts_module.read_fully(file.fileno(), buffers, 4) == 15
        assert np.concatenate(buffers).tobytes() == array.part_path(0).read_bytes()[4:19]
        end = array.part_path(0).stat().st_size
        assert parts_module.read_fully(file.fileno(), buffers, end - 6) == 6


@pytest.mark.parametrize("rows", [[-1], [300], [0, 10**12]])
def test_rows_outside_are_an_error(filled, rows):
    with filled[0].reader("z") as reader, pytest.raises(IndexError, match="outside"):
        reader.read_into(np.array(rows), np.empty((len(rows), 3, 4), np.uint16))


@pytest.mark.parametrize(
    "out",
    [
        np.empty((1, 3, 4), np.uint16),
        np.empty((2, 3, 4), np.int16),
        np.empty((2, 4, 3), np.uint16),
        np.empty((2, 3, 4, 2), np.uint16)[..., 0],
        np.broadcast_to(np.uint16(0), (2, 3, 4)),
    ],
)
def test_buffers_that_do_not_fit_are_an_error(filled, out):
    with filled[0].reader("z") as reader, pytest.raises(ValueError, match="buffer"):
        reader.read_into(np.array([0, 1]), out)


@pytest.mark.parametrize("rows", [np.array([0.0, 1.0]), np.array([[0, 1]]), np.array([True, False])])
def test_row_numbers_are_integers(filled, rows):
    with filled[0].reader("z") as reader, pytest.raises(ValueError, match="integers"):
        reader.read_into(rows, np.empty((len(rows), 3, 4), np.uint16))


def test_a_closed_reader_says_so_and_an_unknown_policy_too(filled):
    reader = filled[0].reader("z")
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        reader.read_into(np.array([0]), np.empty((1, 3, 4), np.uint16))
    with pytest.raises(ValueError, match="sometimes"):
        filled[0].reader("z", verify="sometimes")


class TestDamage:
    """A flipped bit, a truncated or a missing file is a named error, never numbers."""

    @pytest.fixture
    def array(self, filled):
        return filled[0].arrays()[0]

    def test_every_flipped_bit_in_the_rows_is_found(self, filled, array):
        store, path = filled[0], array.part_path(1)
        for bit in some_row_bits(array, 1, 60):
            flip(path, bit)
            for verify in ("first", "always"):
                with pytest.raises(StoreCorrupt, match=r"row \d+ in part 000001 of z-") as error:
                    read_all(store, verify=verify)
                assert str(store.path) in str(error.value)
                assert array.index_id in str(error.value)
            flip(path, bit)
        read_all(store, verify="always")

    def test_with_checks_off_a_flipped_bit_is_not_found(self, filled, array):
        """The control: it is the checksum that finds the damage above."""
        flip(array.part_path(1), some_row_bits(array, 1, 1)[0])
        assert (read_all(filled[0], verify="never") != filled[1]).sum() == 1

    def test_damage_after_the_first_read_is_found_by_always_only(self, filled, array):
        store, out = filled[0], np.empty((1, 3, 4), np.uint16)
        with store.reader("z", verify="first") as first, store.reader("z", verify="always") as always:
            for reader in (first, always):
                reader.read_into(np.array([0]), out)
            flip(array.part_path(0), 8 * int(row_spans(array, 0)[0, 0]))
            first.read_into(np.array([0]), out)
            with pytest.raises(StoreCorrupt, match="row 0"):
                always.read_into(np.array([0]), out)

    @pytest.mark.parametrize("verify", ["first", "always", "never"])
    def test_every_flipped_bit_in_a_shard_index_is_found_at_opening(self, filled, array, verify):
        if array.format_name != "zarr":
            pytest.skip("only Zarr has a shard index")
        path = array.part_path(1)
        for bit in some_bits(path, 60, start=path.stat().st_size - (16 * 128 + 4)):
            flip(path, bit)
            with pytest.raises(StoreCorrupt, match=r"part 000001[\s\S]*index fails its checksum"):
                filled[0].reader("z", verify=verify)
            flip(path, bit)

    @pytest.mark.parametrize("what", ["metadata", "receipt"])
    def test_every_flipped_bit_in_metadata_and_receipts_is_found(self, filled, array, what):
        path = array.receipt_path(1) if what == "receipt" else array.path / array.format.metadata_name
        for bit in some_bits(path, 100):
            flip(path, bit)
            with pytest.raises(StoreCorrupt) as error:
                FeatureStore.open(filled[0].path).reader("z")
            assert str(path) in str(error.value)
            flip(path, bit)

    def test_flipped_bits_in_an_index_never_change_a_row(self, filled, array):
        path, before, refused = filled[0].layout.index_file(array.index_id), filled[0].index("z"), 0
        for bit in some_bits(path, 100):
            flip(path, bit)
            try:
                assert FeatureStore.open(filled[0].path).index("z").equals(before)
            except StoreCorrupt:
                refused += 1
            flip(path, bit)
        assert refused > 50

    def test_a_truncated_part_is_found_at_opening(self, filled, array):
        path = array.part_path(1)
        data = path.read_bytes()
        for size in [0, 1, len(data) - 1, *np.random.default_rng(0).integers(0, len(data), 60).tolist()]:
            overwrite(path, data[:size])
            with pytest.raises(StoreCorrupt, match="another size"):
                filled[0].reader("z", verify="never")
        overwrite(path, data + b"x")
        with pytest.raises(StoreCorrupt, match="another size"):
            filled[0].reader("z")

    def test_a_part_truncated_under_an_open_reader_is_found(self, filled, array):
        with filled[0].reader("z", verify="never") as reader:
            end = int(row_spans(array, 1)[3, 0]) + 10
            overwrite(array.part_path(1), array.part_path(1).read_bytes()[:end])
            with pytest.raises(StoreCorrupt, match="ends inside row 131"):
                reader.read_into(np.arange(300), np.empty((300, 3, 4), np.uint16))

    @pytest.mark.parametrize("part", [0, 1, 2])
    @pytest.mark.parametrize("allow_partial", [False, True])
    def test_a_missing_file_is_an_error_and_never_numbers(self, filled, array, part, allow_partial):
        array.part_path(part).unlink()
        with pytest.raises(StoreIncomplete, match=f"part 00000{part}"):
            filled[0].reader("z", allow_partial=allow_partial)

    def test_a_row_the_index_does_not_have_is_found_at_opening(self, filled, array):
        """A whole and right shard of 127 rows under a receipt of 128."""
        if array.format_name != "zarr":
            pytest.skip("an HDF5 part of 127 rows has another shape, which is found before")
        data = array.format.encode(array.meta, filled[1][128:255])
        receipt = array.receipt_path(1)
        overwrite(array.part_path(1), data + b"\0" * (array.part_path(1).stat().st_size - len(data)))
        with pytest.raises(StoreCorrupt, match="000001"):
            filled[0].reader("z")
        overwrite(array.part_path(1), b"\0" * (array.part_path(1).stat().st_size - len(data)) + data)
        with pytest.raises(StoreIncomplete, match="lacks its row 127"):
            filled[0].reader("z", verify="never")
        assert receipt.exists()

    def test_another_whole_part_in_its_place_is_found(self, filled, array):
        """Its own checksums are right, the receipt's are not."""
        store, values = filled
        overwrite(array.part_path(1), array.part_path(0).read_bytes())
        assert read_all(store, verify="never")[128:256].tobytes() == values[:128].tobytes()
        with pytest.raises(StoreCorrupt, match=r"row 128 in part 000001.* is not the one its receipt describes"):
            read_all(store)

    def test_another_parts_receipt_in_its_place_is_found(self, filled, array):
        overwrite(array.receipt_path(1), array.receipt_path(0).read_bytes())
        with pytest.raises(StoreCorrupt, match="of another part"):
            filled[0].reader("z")

    def test_a_receipt_for_a_part_that_cannot_be_is_found(self, filled, array):
        shutil.copy(array.receipt_path(2), array.receipt_path(3))
        with pytest.raises(StoreCorrupt, match="000003"):
            filled[0].reader("z")

    def test_an_array_of_another_index_is_found(self, filled, array):
        other = array.path.parent.with_name("0" * 16)
        array.path.parent.rename(other)
        with pytest.raises(StoreCorrupt, match="another array"):
            filled[0].reader("z")

    def test_an_array_under_another_name_is_found(self, filled, array):
        array.path.rename(array.path.with_name("z-00000000" + array.format.suffix))
        with pytest.raises(StoreCorrupt, match="another array"):
            filled[0].features()

    def test_an_unreadable_file_is_named(self, filled, array):
        array.part_path(1).unlink()
        array.part_path(1).mkdir()
        with pytest.raises(StoreError, match="000001"):
            read_all(filled[0])


class TestPartial:
    @pytest.fixture
    def partial(self, tmp_path, store_format):
        store = FeatureStore.create(tmp_path / "store")
        values = some_values(a_spec())
        fill(store, a_spec(), some_frames(), values, parts=[0, 2], store_format=store_format)
        return store, values

    def test_a_partial_store_is_refused_with_its_share(self, partial):
        with pytest.raises(StoreIncomplete, match=r"1 parts are missing[\s\S]*172 of 300 rows \(57%\)"):
            partial[0].reader("z")

    def test_it_opens_when_allowed_and_reads_what_is_there(self, partial):
        store, values = partial
        with store.reader("z", allow_partial=True) as reader:
            assert reader.readable.tolist() == [True] * 128 + [False] * 128 + [True] * 44
            rows = np.flatnonzero(reader.readable)
            out = np.empty((len(rows), 3, 4), np.uint16)
            reader.read_into(rows, out)
            assert out.tobytes() == values[rows].tobytes()
            with pytest.raises(StoreIncomplete, match="row 200"):
                reader.read_into(np.array([0, 200]), np.empty((2, 3, 4), np.uint16))

    def test_a_removed_receipt_is_a_missing_part(self, filled):
        store, _ = filled
        store.arrays()[0].receipt_path(1).unlink()
        assert store.status("z").present == 172
        with pytest.raises(StoreIncomplete, match="missing"):
            store.reader("z")

    def test_store_read_needs_only_the_parts_of_its_rows(self, partial):
        store, values = partial
        assert store.read("z", [299, 0]).view(torch.uint16).numpy().tobytes() == values[[299, 0]].tobytes()
        with pytest.raises(StoreIncomplete, match="missing"):
            store.read("z", [0, 200])
