"""Index tables: which frame or query every row of an array belongs to.

A frame is (repo_id, revision, episode_index, frame_index, camera, timestamp_s); a query has one more column,
instruction. Rows are ordered by (repo_id, episode_index, camera, frame_index[, instruction]) and an index never
changes: its id is the hash of its rows, so a table that does not hash to its own name is refused.
"""

import hashlib
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import StoreCorrupt, StoreError
from ..spec import Per
from .commit import make_folders
from .files import read_file
from .layout import Layout

FRAME_SCHEMA = pa.schema(
    [
        pa.field("repo_id", pa.string()),
        pa.field("revision", pa.string()),
        pa.field("episode_index", pa.int64()),
        pa.field("frame_index", pa.int64()),
        pa.field("camera", pa.string()),
        pa.field("timestamp_s", pa.float64()),
    ]
)
QUERY_SCHEMA = FRAME_SCHEMA.append(pa.field("instruction", pa.string()))

MAX_INDEX_BYTES = 1 << 29
MAX_INDEX_ROWS = 1 << 23
MAX_TABLE_BYTES = 1 << 31
"""Bounds of one index: rows, and bytes once its strings stand in memory. More rows are more indexes."""

_THRIFT = {"thrift_string_size_limit": 1 << 20, "thrift_container_size_limit": 256}
_HASH_SALT = b"visual_thought index 1\n"


def schema_of(per: Per) -> pa.Schema:
    """The columns of an index whose rows are frames or queries."""
    return QUERY_SCHEMA if per == "query" else FRAME_SCHEMA


def row_key(per: Per) -> list[str]:
    """The columns that order an index and of which no two rows agree in all."""
    return ["repo_id", "episode_index", "camera", "frame_index", *(["instruction"] if per == "query" else [])]


def canonical(rows: pa.Table, per: Per) -> pa.Table:
    """The rows as an index holds them: right columns and types, one chunk, ordered.

    Raises:
        StoreError: a column is missing or of another type, a value is null, negative or not finite, or two rows
            are the same frame (or query).
    """
    schema = schema_of(per)
    missing = [name for name in schema.names if name not in rows.column_names]
    if missing:
        raise StoreError(f"rows of a {per} feature need more columns", found=rows.column_names, expected=schema.names)
    try:
        table = rows.select(schema.names).replace_schema_metadata(None).cast(schema).combine_chunks()
        table.validate(full=True)
    except (pa.ArrowException, ValueError) as error:
        raise StoreError(f"rows of a {per} feature have wrong columns", found=error, expected=schema.names) from error
    _refuse_impossible(table)
    table = table.sort_by([(name, "ascending") for name in row_key(per)])
    _refuse_repeats(table, per)
    return table


def index_id(table: pa.Table) -> str:
    """16 hex digits: the start of the sha256 of the rows, column by column.

    A column is hashed as a line ``name type rows``, then its values: numbers as little-endian 8 bytes each, strings
    as all byte lengths (little-endian int64) followed by all UTF-8 bytes. ``table`` is :func:`canonical`.
    """
    digest = hashlib.sha256(_HASH_SALT)
    for name in table.column_names:
        column = table.column(name)
        digest.update(f"{name} {column.type} {len(column)}\n".encode())
        if pa.types.is_string(column.type):
            digest.update(pc.binary_length(column).to_numpy().astype("<i8").tobytes())
            digest.update("".join(column.to_pylist()).encode())
        else:
            digest.update(column.to_numpy().astype("<i8" if pa.types.is_integer(column.type) else "<f8").tobytes())
    return digest.hexdigest()[:16]


def write_index(layout: Layout, table: pa.Table) -> str:
    """Create the index of a canonical table unless it exists; returns its id.

    Raises:
        StoreError: too many rows for one index.
        StoreCorrupt: the file that is there is damaged, or holds other rows.
    """
    if table.num_rows > MAX_INDEX_ROWS or table.nbytes > MAX_TABLE_BYTES:
        raise StoreError(
            "too many rows for one index",
            found=f"{table.num_rows} rows of {table.nbytes} bytes",
            expected=f"at most {MAX_INDEX_ROWS} rows of {MAX_TABLE_BYTES} bytes",
            remedy="extract fewer episodes or cameras at once",
        )
    identity = index_id(table)
    make_folders(layout.root, layout.indexes)
    path = layout.index_file(identity)
    parse_index(path, layout.commit(path, to_parquet(table)), identity)
    return identity


def read_index(layout: Layout, identity: str) -> pa.Table:
    """The rows of one index, proven to be the ones its id names.

    Raises:
        StoreIncomplete: there is no such index.
        StoreCorrupt: the file is damaged, or holds other rows.
    """
    path = layout.index_file(identity)
    return parse_index(path, read_file(layout.root, path, limit=MAX_INDEX_BYTES), identity)


def to_parquet(table: pa.Table) -> bytes:
    """A table as the bytes of a parquet file with page checksums."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True, store_schema=False)
    return buffer.getvalue()


def from_parquet(
    path: Path | str, data: bytes, schema: pa.Schema, *, rows: int | None = None, most_bytes: int = MAX_TABLE_BYTES
) -> pa.Table:
    """The table of :func:`to_parquet`.

    A few bytes of parquet can stand for billions of rows, so they are counted first, and strings are kept as
    dictionaries until their whole length is known.

    Args:
        path: for the error.
        data: the bytes of the file.
        schema: the columns it must have.
        rows: how many rows it must have; at most :data:`MAX_INDEX_ROWS` if not given.
        most_bytes: of the whole table in memory.

    Raises:
        StoreCorrupt: the bytes are anything else.
    """
    try:
        found = _parquet_file(data).schema_arrow
        if not found.equals(schema):
            names = [f"{field.name}: {field.type}" for field in found]
            raise StoreCorrupt(f"{path} has other columns", found=names, expected=schema.names)
        file = _parquet_file(data, [field.name for field in schema if pa.types.is_string(field.type)])
        if file.metadata.num_rows != rows if rows is not None else file.metadata.num_rows > MAX_INDEX_ROWS:
            expected = f"at most {MAX_INDEX_ROWS}" if rows is None else rows
            raise StoreCorrupt(f"{path} has another number of rows", found=file.metadata.num_rows, expected=expected)
        table = _spelled_out(file.read(use_threads=False).replace_schema_metadata(None), schema, most_bytes)
        table.validate(full=True)
        if any(column.null_count for column in table.columns):
            raise StoreCorrupt(f"{path} has nulls")
    except (pa.ArrowException, OSError, ValueError, EOFError, MemoryError) as error:
        raise StoreCorrupt(f"{path} is not a readable parquet file", found=error) from error
    return table


def _parquet_file(data: bytes, dictionaries: list[str] | None = None) -> pq.ParquetFile:
    buffer = pa.BufferReader(data)
    return pq.ParquetFile(buffer, read_dictionary=dictionaries, page_checksum_verification=True, **_THRIFT)


def _spelled_out(table: pa.Table, schema: pa.Schema, most_bytes: int) -> pa.Table:
    """Plain strings instead of dictionaries; ValueError before that if they would take more than ``most_bytes``."""
    table.validate(full=True)
    total = 0
    for chunk in (chunk for column in table.columns for chunk in column.chunks):
        if pa.types.is_dictionary(chunk.type):
            lengths = pc.take(pc.binary_length(chunk.dictionary), chunk.indices)
            total += pc.sum(lengths, min_count=0).as_py() + 4 * len(chunk)
        else:
            total += 8 * len(chunk)
    if total > most_bytes:
        raise ValueError(f"{total} bytes of rows, at most {most_bytes} are allowed")
    return table.cast(schema).combine_chunks()


def parse_index(path: Path | str, data: bytes, identity: str) -> pa.Table:
    """The rows in the bytes of an index; StoreCorrupt (naming ``path``) if they are not the ones its id names."""
    schema = _schema_in(path, data)
    table = from_parquet(path, data, schema)
    found = index_id(table)
    if found != identity:
        raise StoreCorrupt(f"{path} holds other rows than its name says", found=found, expected=identity)
    _refuse_impossible(table)
    return table


def _schema_in(path: Path | str, data: bytes) -> pa.Schema:
    try:
        names = _parquet_file(data).schema_arrow.names
    except (pa.ArrowException, OSError, ValueError, EOFError, MemoryError) as error:
        raise StoreCorrupt(f"{path} is not a readable parquet file", found=error) from error
    return QUERY_SCHEMA if "instruction" in names else FRAME_SCHEMA


def _refuse_impossible(table: pa.Table) -> None:
    for name in table.column_names:
        if table.column(name).null_count:
            raise StoreError(f"an index row has no {name}")
    for name in ("episode_index", "frame_index"):
        if len(table) and pc.min(table.column(name)).as_py() < 0:
            raise StoreError(f"an index row has a negative {name}", found=pc.min(table.column(name)))
    if not pc.all(pc.is_finite(table.column("timestamp_s")), min_count=0).as_py():
        raise StoreError("an index row has a timestamp_s that is not a finite number")
    for name in ("repo_id", "revision", "camera"):
        if pc.any(pc.equal(table.column(name), ""), min_count=0).as_py():
            raise StoreError(f"an index row has an empty {name}")


def _refuse_repeats(table: pa.Table, per: Per) -> None:
    same = np.ones(max(len(table) - 1, 0), dtype=bool)
    for name in row_key(per):
        column = table.column(name)
        same &= pc.equal(column[1:], column[:-1]).to_numpy()
    if same.any():
        row = table.slice(int(same.argmax()), 1).select(row_key(per)).to_pylist()[0]
        raise StoreError(f"two rows are the same {per}", found=row, expected="every row once")
