"""Columns of a dataset's parquet files, bounded by what the dataset says it holds."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import DatasetError

type Kind = Callable[[pa.DataType], bool]

ANY: Kind = lambda _: True  # noqa: E731
INTEGER: Kind = pa.types.is_integer
NUMBER: Kind = pa.types.is_floating
TEXT: Kind = lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind)  # noqa: E731


def open_parquet(path: Path) -> pq.ParquetFile:
    """A parquet file whose end is there; raises DatasetError if it cannot be read."""
    try:
        return pq.ParquetFile(path, memory_map=False, pre_buffer=False, buffer_size=1 << 20)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from None


def read_columns(path: Path, columns: Mapping[str, Kind], *, max_rows: int) -> pa.Table:
    """Some columns of a file, without a null.

    Args:
        path: the file.
        columns: the columns, and what their values must be.
        max_rows: rows that the file can have at most; a footer that says more is not followed.

    Raises:
        DatasetError: the file is damaged, longer than that, lacks a column or a value, or has others than these.
    """
    with open_parquet(path) as file:
        names = file.schema_arrow.names
        missing = [name for name in columns if name not in names]
        if missing:
            raise DatasetError(f"{path} lacks columns", found=names, expected=missing)
        wrong = [name for name, kind in columns.items() if not kind(file.schema_arrow.field(name).type)]
        if wrong:
            found = [f"{name}: {file.schema_arrow.field(name).type}" for name in wrong]
            raise DatasetError(f"{path} has columns of another type", found=found)
        if file.metadata.num_rows > max_rows:
            raise contradiction(path, f"{file.metadata.num_rows} rows", f"at most {max_rows}")
        try:
            table = file.read(columns=list(columns)).select(list(columns))
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(path, error) from None
    empty = [name for name in columns if table[name].null_count]
    if empty:
        raise DatasetError(f"{path} has rows without a value", found=empty)
    return table


def contradiction(path: Path, found: str, expected: str) -> DatasetError:
    """The error of a file that does not agree with the others."""
    return DatasetError(
        f"{path} contradicts the rest of the dataset",
        found=found,
        expected=expected,
        remedy="the recording is not finished, or the copy is not whole: record or copy it again",
    )


def _unreadable(path: Path, error: Exception) -> DatasetError:
    return DatasetError(
        f"{path} cannot be read",
        found=str(error).partition("\n")[0],
        expected="a finished parquet file",
        remedy="a recording stopped before `finalize()` leaves files without an end: record or copy it again",
    )
