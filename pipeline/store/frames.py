"""The frames behind finished parts: time stamps and pixel hashes, kept beside the receipts."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from ..errors import StoreCorrupt, StoreError
from .array import ArrayRef
from .files import read_file
from .index import from_parquet, to_parquet
from .receipt import read_receipt

MAX_FRAMES_BYTES = 1 << 20

FRAMES_SCHEMA = pa.schema(
    [
        pa.field("pts_s", pa.float64()),
        pa.field("pixels_sha256", pa.string()),
    ]
)
"""One row a row of the part: the frame's time stamp in its video, and the sha256 of its decoded RGB bytes."""


def write_frames(array: ArrayRef, part: int, frames: pa.Table) -> str:
    """Create the table of a part's frames unless there is one; returns the sha256 of the file that is there.

    Raises:
        StoreError: wrong columns, a null, or not one row a row of the part.
        StoreCorrupt: the file that is there is damaged.
    """
    path, rows = array.layout.frames_file(array.index_id, array.key, part), len(array.meta.part_range(part))
    try:
        table = frames.select(FRAMES_SCHEMA.names).replace_schema_metadata(None).cast(FRAMES_SCHEMA)
        table.validate(full=True)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise StoreError("frames have wrong columns", found=error, expected=FRAMES_SCHEMA.names) from error
    if table.num_rows != rows or any(column.null_count for column in table.columns):
        raise StoreError("frames must have one full row a row of the part", found=table.num_rows, expected=rows)
    data = array.layout.commit(path, to_parquet(table))
    parse_frames(path, data, rows)
    return hashlib.sha256(data).hexdigest()


def parse_frames(path: Path, data: bytes, rows: int) -> pa.Table:
    """The table of a part's frames; StoreCorrupt (naming ``path``) unless it has exactly one full row a row."""
    return from_parquet(path, data, FRAMES_SCHEMA, rows=rows, most_bytes=MAX_FRAMES_BYTES)


def read_frames(arrays: Sequence[ArrayRef], index_table: Callable[[str], pa.Table]) -> pa.Table:
    """Index rows of all finished parts that have a table of frames, with its two columns appended.

    Raises:
        StoreIncomplete: a receipt names a table of frames that is missing.
        StoreCorrupt: a table is not the one its receipt names.
    """
    empty = index_table(arrays[0].index_id).schema.empty_table()
    for field in FRAMES_SCHEMA:
        empty = empty.append_column(field, pa.array([], field.type))
    return pa.concat_tables([empty, *(table for array in arrays for table in _tables(array, index_table))])


def _tables(array: ArrayRef, index_table: Callable[[str], pa.Table]) -> Iterator[pa.Table]:
    for part in array.finished_parts():
        expected = read_receipt(array.layout.root, array.receipt_path(part)).frames_sha256
        if expected is None:
            continue
        path, rows = array.layout.frames_file(array.index_id, array.key, part), array.meta.part_range(part)
        data = read_file(array.layout.root, path, limit=MAX_FRAMES_BYTES)
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            raise StoreCorrupt(f"{path} is not the table its receipt names", found=found, expected=expected)
        table = index_table(array.index_id).slice(rows.start, len(rows))
        for field, column in zip(FRAMES_SCHEMA, parse_frames(path, data, len(rows)).columns, strict=True):
            table = table.append_column(field, column)
        yield table
