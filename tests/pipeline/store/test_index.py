import hashlib
import struct

import numpy as np
import pyarrow as pa
import pytest

from visual_thought.pipeline.errors import StoreCorrupt, StoreError, StoreIncomplete
from visual_thought.pipeline.store.index import (
    FRAME_SCHEMA,
    QUERY_SCHEMA,
    canonical,
    index_id,
    read_index,
    to_parquet,
    write_index,
)
from visual_thought.pipeline.store.layout import Layout

from .toys import flip, overwrite, some_bits, some_frames, some_queries


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)


def changed(table, name, values):
    return table.set_column(table.column_names.index(name), name, values)


def test_rows_come_back_ordered_whatever_order_they_were_given_in(layout):
    table = canonical(some_queries(50), "query")
    shuffled = some_queries(50).take(np.random.default_rng(0).permutation(100))
    assert canonical(shuffled, "query").equals(table)
    identity = write_index(layout, canonical(shuffled, "query"))
    assert read_index(layout, identity).equals(table)
    ordered_by = ("repo_id", "episode_index", "camera", "frame_index", "instruction")
    keys = list(zip(*(table[name].to_pylist() for name in ordered_by), strict=True))
    assert keys == sorted(keys)


def test_the_id_is_the_documented_hash_of_the_rows():
    rows = {
        "repo_id": ["a", "a"],
        "revision": ["r", "é"],
        "episode_index": [0, 1],
        "frame_index": [3, 0],
        "camera": ["main", "w"],
        "timestamp_s": [0.3, 0.0],
    }
    digest = hashlib.sha256(b"visual_thought index 1\n")
    for name, values in rows.items():
        if isinstance(values[0], str):
            encoded = [value.encode() for value in values]
            digest.update(f"{name} string 2\n".encode() + struct.pack("<2q", *map(len, encoded)) + b"".join(encoded))
        elif isinstance(values[0], int):
            digest.update(f"{name} int64 2\n".encode() + struct.pack("<2q", *values))
        else:
            digest.update(f"{name} double 2\n".encode() + struct.pack("<2d", *values))
    assert index_id(canonical(pa.table(rows), "frame")) == digest.hexdigest()[:16]


def test_the_id_is_golden():
    """Ids are names on people's disks: this value never changes."""
    assert index_id(canonical(some_frames(300), "frame")) == "5cf341f66f04c322"
    assert index_id(canonical(some_queries(300), "query")) == "7ccb80d83b86f2cf"


@pytest.mark.parametrize("name", FRAME_SCHEMA.names)
def test_the_id_depends_on_every_column(name):
    table = canonical(some_frames(5), "frame")
    column = table[name].to_pylist()
    last = column[-1] + "x" if isinstance(column[-1], str) else column[-1] + 1
    other = changed(table, name, pa.array([*column[:-1], last], table.schema.field(name).type))
    assert index_id(other) != index_id(table)


def test_columns_of_other_widths_are_accepted_and_extra_ones_dropped():
    table = some_frames(5)
    narrow = changed(table, "episode_index", table["episode_index"].cast(pa.int16()))
    narrow = changed(narrow, "camera", table["camera"].dictionary_encode())
    wide = changed(narrow, "repo_id", table["repo_id"].cast(pa.large_string())).append_column("x", table["camera"])
    assert canonical(wide, "frame").equals(canonical(table, "frame"))
    assert canonical(some_queries(5), "query").schema.equals(QUERY_SCHEMA)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("episode_index", [0, -1]),
        ("frame_index", [None, 1]),
        ("timestamp_s", [0.0, float("nan")]),
        ("timestamp_s", [0.0, float("inf")]),
        ("camera", ["main", ""]),
        ("camera", ["main", None]),
        ("frame_index", [0.5, 1.0]),
        ("repo_id", [1.5, 2.5]),
    ],
)
def test_impossible_values_are_refused(name, values):
    if name == "repo_id":
        values = [[1], [2]]
    with pytest.raises(StoreError, match=name if values[-1] not in ([2],) else "columns"):
        canonical(changed(some_frames(2), name, pa.array(values)), "frame")


def test_a_missing_column_is_named():
    with pytest.raises(StoreError, match="instruction"):
        canonical(some_frames(2), "query")


def test_the_same_frame_twice_is_refused_even_under_two_revisions():
    twice = pa.concat_tables([some_frames(3), some_frames(1, start=2, revision="r2")])
    with pytest.raises(StoreError, match=r"same frame[\s\S]*'frame_index': 2"):
        canonical(twice, "frame")
    queries = some_queries(3)
    assert canonical(queries, "query").num_rows == 6
    with pytest.raises(StoreError, match="same query"):
        canonical(pa.concat_tables([queries, queries.slice(0, 1)]), "query")


def test_writing_twice_keeps_the_first_file(layout):
    table = canonical(some_frames(5), "frame")
    identity = write_index(layout, table)
    before = layout.index_file(identity).stat().st_ino
    assert write_index(layout, table) == identity
    assert layout.index_file(identity).stat().st_ino == before


def test_other_rows_under_the_same_name_are_refused(layout):
    identity = write_index(layout, canonical(some_frames(5), "frame"))
    overwrite(layout.index_file(identity), to_parquet(canonical(some_frames(6), "frame")))
    with pytest.raises(StoreCorrupt, match="other rows"):
        read_index(layout, identity)
    with pytest.raises(StoreCorrupt, match="other rows"):
        write_index(layout, canonical(some_frames(5), "frame"))
    overwrite(layout.index_file(identity), to_parquet(pa.table({"x": [1]})))
    with pytest.raises(StoreCorrupt, match="columns"):
        read_index(layout, identity)


def test_a_missing_index_is_incomplete(layout):
    with pytest.raises(StoreIncomplete, match="missing"):
        read_index(layout, "0" * 16)


def test_flipped_bits_are_errors_or_harmless(layout):
    table = canonical(some_queries(20), "query")
    identity = write_index(layout, table)
    path, refused = layout.index_file(identity), 0
    for bit in some_bits(path, 300):
        flip(path, bit)
        try:
            assert read_index(layout, identity).equals(table)
        except StoreCorrupt:
            refused += 1
        flip(path, bit)
    assert refused > 150
    assert read_index(layout, identity).equals(table)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_index_is_an_error(layout, share):
    identity = write_index(layout, canonical(some_frames(20), "frame"))
    path = layout.index_file(identity)
    data = path.read_bytes()
    overwrite(path, data[: int(share * len(data))])
    with pytest.raises(StoreCorrupt, match="not a readable parquet"):
        read_index(layout, identity)
