"""Hostile parts and tables: HDF5, shards and parquet; imported for the cases they add to the corpus."""

import io
import struct
from functools import cache

import google_crc32c
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from visual_thought.pipeline.store.frames import FRAMES_SCHEMA
from visual_thought.pipeline.store.index import FRAME_SCHEMA

from .hostile import CASES, case
from .thrift import element, footer, nested, wide
from .toys import overwrite

SHAPE = (128, 3, 4)


def _h5(build):
    """The bytes of an HDF5 file that ``build`` filled."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110")) as file:
        build(file)
    return buffer.getvalue()


def in_groups(depth, build):
    """What ``build`` makes, ``depth`` groups down, and a soft link to it where it is expected."""

    def built(file, outside):
        group = file
        for _ in range(depth):
            group = group.create_group("g")
        build(group, outside)
        if depth:
            file["rows"] = h5py.SoftLink("/g" * depth + "/rows")

    return built


def external_storage(group, outside):
    group.create_dataset("rows", SHAPE, "<u2", external=[(str(outside / "secret"), 0, h5py.h5f.UNLIMITED)])


def external_link(group, outside):
    group["rows"] = h5py.ExternalLink(str(outside / "target.h5"), "rows")


def virtual(group, outside):
    layout = h5py.VirtualLayout(SHAPE, "<u2")
    layout[...] = h5py.VirtualSource(str(outside / "target.h5"), "rows", SHAPE)
    group.create_virtual_dataset("rows", layout)


LEADING_OUT = {"external_storage": external_storage, "external_link": external_link, "virtual": virtual}


def rows_of(*arguments, **options):
    return lambda group, _: group.create_dataset("rows", *arguments, **options)


def _crc_only(group, _):
    del group["crc32c"]
    group.create_dataset("crc32c", (1 << 40,), "<u4", chunks=(1 << 20,))


def _commit_type(group, _):
    group["rows"] = np.dtype("<u2")


def _root_as_rows(group, _):
    group["rows"] = group["/"]


def _vlen(group, _):
    rows = group.create_dataset("rows", (128,), h5py.vlen_dtype(np.uint16))
    rows[0] = np.arange(5, dtype=np.uint16)


BOMBS = {
    "a_shape_of_terabytes": rows_of((1 << 40, 3, 4), "<u2", chunks=(1, 3, 4)),
    "a_contiguous_shape_of_terabytes": rows_of((1 << 40, 3, 4), "<u2"),
    "a_chunk_of_gigabytes": rows_of((128, 1 << 14, 1 << 14), "<u2", chunks=(1, 1 << 14, 1 << 14)),
    "a_type_of_megabytes": rows_of(SHAPE, "V1000000", chunks=(1, 3, 4)),
    "rows_that_are_not_there": rows_of(SHAPE, "<u2", chunks=(1, 3, 4)),
    "rows_that_are_packed": rows_of(data=np.zeros(SHAPE, "<u2"), chunks=(1, 3, 4), compression="gzip"),
    "rows_of_another_type": rows_of(data=np.zeros(SHAPE, "<i2"), chunks=(1, 3, 4)),
    "rows_of_big_ends": rows_of(data=np.zeros(SHAPE, ">u2"), chunks=(1, 3, 4)),
    "rows_in_other_chunks": rows_of(data=np.zeros(SHAPE, "<u2"), chunks=(2, 3, 4)),
    "rows_that_can_grow": rows_of(data=np.zeros(SHAPE, "<u2"), chunks=(1, 3, 4), maxshape=(None, 3, 4)),
    "rows_of_objects": _vlen,
    "rows_of_references": rows_of(SHAPE, h5py.ref_dtype, chunks=(1, 3, 4)),
    "rows_of_strings": rows_of(SHAPE, h5py.string_dtype(), chunks=(1, 3, 4)),
    "rows_of_compounds": rows_of(SHAPE, [("a", "u1"), ("b", "u1")], chunks=(1, 3, 4)),
    "checksums_of_terabytes": _crc_only,
    "a_type_as_rows": _commit_type,
    "a_group_as_rows": lambda group, _: group.create_group("rows"),
    "the_root_as_rows": _root_as_rows,
    "a_link_to_itself_as_rows": lambda group, _: group.__setitem__("rows", h5py.SoftLink("/rows")),
    "ten_thousand_names": lambda group, _: [group.create_group(f"rows{number}") for number in range(10**4)],
}


def _hostile_h5(build):
    def change(hostile):
        target = hostile.outside / "target.h5"
        if not target.exists():
            with h5py.File(target, "w") as file:
                file["rows"] = np.zeros(SHAPE, "<u2")

        def whole(file):
            file.create_dataset("crc32c", data=np.zeros(128, "<u4"))
            build(file, hostile.outside)

        hostile.replace_part(_h5(whole))

    return change


for _name, _build in LEADING_OUT.items():
    for _depth in range(4):
        CASES[f"h5_{_name}_at_depth_{_depth}"] = _hostile_h5(in_groups(_depth, _build))
for _name, _build in BOMBS.items():
    CASES[f"h5_{_name}"] = _hostile_h5(_build)


def _shard(body, offsets, sizes):
    index = np.stack([np.asarray(offsets, "<u8"), np.asarray(sizes, "<u8")], axis=1).tobytes()
    return body + index + struct.pack("<I", google_crc32c.value(index))


ROW = 3 * 4 * 2 + 4
SHARDS = {
    "rows_that_share_bytes": ([0] * 128, [ROW] * 128),
    "offsets_beyond_2_63": ([1 << 63] * 128, [ROW] * 128),
    "offsets_that_wrap": ([(1 << 64) - 10] * 128, [ROW] * 128),
    "sizes_of_exabytes": ([0] * 128, [1 << 62] * 128),
    "sizes_of_minus_one": ([0] * 128, [(1 << 64) - 1] * 128),
    "rows_inside_the_index": ([128 * ROW + 8] * 128, [ROW] * 128),
    "no_rows": ([(1 << 64) - 1] * 128, [(1 << 64) - 1] * 128),
}
for _name, (_offsets, _sizes) in SHARDS.items():
    _data = _shard(bytes(128 * ROW), _offsets, _sizes)
    CASES[f"shard_with_{_name}"] = lambda hostile, data=_data: hostile.replace_part(data)


@case
def rows_of_half_a_gigabyte_that_share_bytes(hostile):
    """Metadata of the largest rows there may be; all of them are the same few bytes of the file."""
    hostile.edit_metadata(lambda document, own: own["feature"].update(shape=[1 << 14, 1 << 14]))


def _parquet(table):
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True, store_schema=False)
    return buffer.getvalue()


def _repeated(value, rows, kind):
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value], kind))


@cache
def many_rows(schema, rows, text="x"):
    """A file of a few kilobytes whose strings would take ``rows`` times the length of ``text``."""
    columns = [
        _repeated(text, rows, field.type) if pa.types.is_string(field.type) else pa.array(np.zeros(rows), field.type)
        for field in schema
    ]
    return _parquet(pa.table(columns, names=schema.names))


def declared(schema, rows):
    """A file without rows whose footer says it has many."""
    kinds = {pa.int64(): 2, pa.float64(): 5, pa.string(): 6}
    columns = [element(field.name.encode(), kind=kinds[field.type]) for field in schema]
    return footer([element(b"schema", children=len(schema)), *columns], rows)


TABLES = {
    "declares_a_million_million_rows": lambda schema: declared(schema, 10**12),
    "holds_ten_million_rows": lambda schema: many_rows(schema, 10**7),
    "holds_gigabytes_of_words": lambda schema: many_rows(schema, 150, "x" * (1 << 25)),
    "is_nested_ninety_deep": lambda schema: nested(90),
    "is_nested_for_ever": lambda schema: nested(10**5),
    "has_a_million_columns": lambda schema: wide(10**6),
    "has_other_columns": lambda schema: _parquet(pa.table({"x": [1]})),
    "has_nulls": lambda schema: _parquet(pa.table([pa.nulls(150, field.type) for field in schema], schema=schema)),
    "has_no_rows": lambda schema: _parquet(schema.empty_table()),
    "has_one_row_more": lambda schema: many_rows(schema, 151),
    "is_not_parquet": lambda schema: b"PAR1" + b"\xff" * 100 + struct.pack("<I", 1 << 31) + b"PAR1",
}
for _name, _make in TABLES.items():
    CASES[f"index_{_name}"] = lambda hostile, make=_make: overwrite(hostile.index, make(FRAME_SCHEMA))
    CASES[f"frames_table_{_name}"] = lambda hostile, make=_make: hostile.replace_frames(make(FRAMES_SCHEMA))
