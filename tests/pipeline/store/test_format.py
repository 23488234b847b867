"""What every storage format must do; a new line in the table of formats is tested here at once."""

import google_crc32c
import numpy as np
import pytest

from visual_thought.pipeline.errors import StoreError
from visual_thought.pipeline.store.format import (
    SUFFIXES,
    ArrayMeta,
    DamageError,
    count_not_finite,
    load_format,
    stored_dtype,
)

from .toys import FORMAT_NAMES, a_spec, some_values

INDEX = "0123456789abcdef"


def preader(data):
    return lambda offset, size: data[offset : offset + size]


class TestEveryFormat:
    @pytest.fixture(params=FORMAT_NAMES)
    def name(self, request):
        return request.param

    @pytest.fixture(params=["bf16", "fp32"])
    def tier(self, request):
        return request.param

    @pytest.fixture
    def form(self, name):
        return load_format(name)

    @pytest.fixture
    def meta(self, tier):
        return ArrayMeta(a_spec(tier=tier), INDEX, 300)

    @pytest.fixture
    def values(self, meta):
        return some_values(meta.spec, 128)

    def test_it_is_in_the_table_under_its_own_name(self, form, name):
        assert form.name == name
        assert SUFFIXES[form.suffix] == name

    def test_metadata_is_the_same_text_every_time_and_comes_back(self, form, meta):
        text = form.describe(meta)
        assert text == form.describe(ArrayMeta(type(meta.spec).from_json(meta.spec.to_json()), INDEX, 300))
        assert form.describe(form.parse(text)) == text
        assert form.parse(text).spec.to_json() == meta.spec.to_json()
        assert (form.parse(text).rows, form.parse(text).index_id) == (300, INDEX)

    def test_flipped_bits_of_the_metadata_are_found(self, form, meta):
        text = bytearray(form.describe(meta))
        for bit in range(0, 8 * len(text), 5):
            text[bit // 8] ^= 1 << bit % 8
            with pytest.raises(DamageError):
                form.parse(bytes(text))
            text[bit // 8] ^= 1 << bit % 8
        form.parse(bytes(text))

    @pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"null", b"1", b"\xff\xfe", b"[" * 10**5])
    def test_other_text_is_no_metadata(self, form, text):
        with pytest.raises(DamageError):
            form.parse(text)

    @pytest.mark.parametrize("rows", [1, 44, 128])
    def test_a_part_comes_back_bit_for_bit_with_its_checksums(self, form, meta, values, rows):
        data = form.encode(meta, values[:rows])
        found, crcs = form.decode(meta, rows, data)
        assert found.dtype == stored_dtype(meta.spec)
        assert found.tobytes() == values[:rows].tobytes()
        assert [int(crc) for crc in crcs] == [google_crc32c.value(row.tobytes()) for row in values[:rows]]
        assert form.encode(meta, values[:rows]) == data

    def test_every_row_stands_where_the_index_says(self, form, meta, values):
        data = form.encode(meta, values[:44])
        spans = form.row_spans(meta, 44, len(data), preader(data))
        assert (spans[:, 1] == meta.spec.row_bytes).all()
        for row, offset in enumerate(spans[:, 0]):
            assert data[offset : offset + meta.spec.row_bytes] == values[row].tobytes()
            if form.row_tail_bytes:
                tail = data[offset + meta.spec.row_bytes :][: form.row_tail_bytes]
                assert int.from_bytes(tail, "little") == google_crc32c.value(values[row].tobytes())

    def test_rows_a_part_does_not_have_are_absent_and_not_numbers(self, form, name, meta, values):
        data = form.encode(meta, values[:44])
        with pytest.raises(DamageError, match="45" if name == "hdf5" else "row 44"):
            form.decode(meta, 45, data)
        if name == "zarr":
            assert (form.row_spans(meta, 45, len(data), preader(data))[:, 0] < 0).tolist() == [False] * 44 + [True]

    def test_a_flipped_bit_of_a_part_is_found_or_changes_no_number(self, form, name, meta, values):
        """Zarr's shards hold nothing but rows, checksums and their index; HDF5 has room between its parts."""
        data, unnoticed = bytearray(form.encode(meta, values)), 0
        for bit in np.random.default_rng(0).integers(0, 8 * len(data), 300).tolist():
            data[bit // 8] ^= 1 << bit % 8
            try:
                assert form.decode(meta, 128, bytes(data))[0].tobytes() == values.tobytes()
                unnoticed += 1
            except DamageError:
                pass
            data[bit // 8] ^= 1 << bit % 8
        assert unnoticed == 0 or name == "hdf5"
        form.decode(meta, 128, bytes(data))

    def test_a_truncated_part_is_found(self, form, meta, values):
        data = form.encode(meta, values)
        for size in [0, 1, 4, len(data) - 1, *np.random.default_rng(0).integers(0, len(data), 60).tolist()]:
            with pytest.raises(DamageError):
                form.decode(meta, 128, data[:size])

    def test_parts_have_different_files(self, form, meta):
        names = {form.part_file(meta, part) for part in range(1000)}
        assert len(names) == 1000
        assert form.metadata_name not in names


def test_an_unknown_format_is_named():
    with pytest.raises(StoreError, match="sqlite"):
        load_format("sqlite")


@pytest.mark.parametrize("tier", ["bf16", "fp32"])
def test_not_finite_numbers_are_counted_as_numpy_counts_them(tier):
    numbers = np.array([0, -0.0, 1, -3e38, 1e-40, np.inf, -np.inf, np.inf, np.nan, -np.nan], np.float32)
    stored = numbers if tier == "fp32" else (numbers.view(np.uint32) >> 16).astype(np.uint16)
    assert count_not_finite(stored) == (2, 3)
    signalling = np.array([0x7F81, 0xFF80, 0x7FC0], np.uint16)
    assert count_not_finite(signalling) == (2, 1)


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        ({}, 0),
        ({}, 10**9),
        ({"shape": ()}, 1),
        ({"shape": (1, 2, 3, 4, 5)}, 1),
        ({"shape": (0, 4)}, 1),
        ({"shape": (1 << 20, 1 << 20)}, 1),
        ({"name": "Z"}, 1),
        ({"name": "../z"}, 1),
        ({"per": "batch"}, 1),
    ],
)
def test_arrays_beyond_the_bounds_are_impossible(changes, rows):
    assert ArrayMeta(a_spec(), INDEX, 300).is_possible()
    assert not ArrayMeta(a_spec(**changes), INDEX, rows).is_possible()
