"""Reading rows into the caller's buffer, checked: straight from the files, or through the formats' own libraries.

Opening reads the receipt and the row index of every part, so that what is missing is known before the first row is
asked for. A row is then one read at a known offset (:mod:`.direct`). Its crc32c is compared with the one in the part's
receipt, which finds damage and also a file that is whole but not the one the receipt was written for.
"""

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Literal, Self

import google_crc32c
import numpy as np
from jaxtyping import Bool, Int64, Shaped

from ..errors import StoreCorrupt, StoreIncomplete
from ..spec import FeatureSpec
from .array import ArrayRef
from .direct import REPAIR, DirectRows, Places, Row
from .int8 import ChannelScale
from .library import LibraryRows
from .parts import Part, PartFiles

Verify = Literal["first", "always", "never"]
Engine = Literal["auto", "direct", "library"]

_ABSENT = -1


class RowReader:
    """Rows of one feature by global row number; the arrays follow each other in the order given.

    Any number of threads may call :meth:`read_into` at once, none while the reader is being closed. What is on disk
    when the reader is opened is what it reads; parts finished later need a new reader.

    Args:
        arrays: all arrays of the feature, by index id.
        verify: check a row's crc32c at its first read by this reader, at every read, or not at all.
        allow_partial: open although parts are missing; their rows cannot be read.
        only_rows: open only the parts that hold these global rows; the others count neither as there nor as missing.
        engine: ``direct`` reads the files itself, ``library`` through zarr-python or h5py, with the same results and
            far slower; ``auto`` is ``direct`` wherever the system has ``preadv``.

    Raises:
        StoreIncomplete: parts have no receipt (unless ``allow_partial``), or a receipted part lacks its file or a row.
        StoreCorrupt: a receipt, a file's size or a shard index is damaged.
    """

    def __init__(
        self,
        arrays: Sequence[ArrayRef],
        *,
        verify: Verify = "first",
        allow_partial: bool = False,
        only_rows: Int64[np.ndarray, " n"] | None = None,
        engine: Engine = "auto",
    ) -> None:
        if engine not in ("auto", "direct", "library"):
            raise ValueError(f"engine is one of auto, direct, library, not {engine!r}")
        if verify not in ("first", "always", "never"):
            raise ValueError(f"verify is one of first, always, never, not {verify!r}")
        self.spec: FeatureSpec = arrays[0].spec
        self.channel_scale: ChannelScale | None = _one_scale(arrays)
        self.num_rows: int = sum(array.rows for array in arrays)
        self.dtype: np.dtype[np.generic] = arrays[0].meta.dtype
        self._verify = verify
        self._files = PartFiles()
        self._gaps = np.zeros(sum(array.num_parts for array in arrays), np.int64)  # bytes between rows; -1: packed
        self._part_of = np.full(self.num_rows, _ABSENT, np.int32)
        self._offset_of = np.zeros(self.num_rows, np.int64)
        self._size_of = np.zeros(self.num_rows, np.int64)
        self._crc_of = np.zeros(self.num_rows, np.uint32)
        self._known = np.zeros(self.num_rows, bool)  # read before, and found right unless never checked
        try:
            self._open_parts(arrays, allow_partial, None if only_rows is None else set(np.unique(only_rows).tolist()))
        except BaseException:
            self._files.close()
            raise
        places = Places(self._part_of, self._offset_of, self._size_of, self._gaps)
        self._whole = bool(self.readable.all())
        direct = engine == "direct" or (engine == "auto" and hasattr(os, "preadv"))
        self._rows: DirectRows | LibraryRows = (
            DirectRows(self._files, places, self.spec.row_bytes, self._check)
            if direct
            else LibraryRows(self._files, self._part_of, self._check)
        )

    @property
    def readable(self) -> Bool[np.ndarray, " num_rows"]:
        """Which rows are there; all of them unless the reader was opened with ``allow_partial``."""
        found: Bool[np.ndarray, " num_rows"] = self._part_of != _ABSENT
        return found

    def read_into(self, rows: Int64[np.ndarray, " n"], out: Shaped[np.ndarray, "n *stored"]) -> None:
        """Fill ``out`` with the numbers of ``rows``, in any order, repeats allowed.

        Args:
            rows: (n,) global row numbers.
            out: (n, *stored shape), C-contiguous, of the type the feature's tier is stored as: uint16 (bfloat16 bits),
                float32, or int8 with a scale behind every token.

        Raises:
            StoreCorrupt: a row's bytes are not what its receipt says; names store, array, part, row.
            StoreIncomplete: a row whose part is missing.
            IndexError, ValueError: a row number or a buffer that does not fit, or a closed reader.
        """
        rows = np.asarray(rows)
        self._check_request(rows, out)
        if not len(rows):
            return
        rows = rows.astype(np.int64, copy=False)
        known = self._known[rows]
        due = (~known).tolist() if self._verify == "first" else [self._verify == "always"] * len(rows)
        self._rows.read(rows, list(out.reshape(len(rows), -1).view(np.uint8)), known, due)
        if not known.all():
            self._known[rows] = True

    def read_ahead(self, rows: Int64[np.ndarray, " n"]) -> None:
        """Ask the kernel to read the parts of these rows into its page cache.

        Parts whose files are not open now, because there are too many, are left out.
        """
        for slot in np.unique(self._part_of[rows]).tolist():
            fd = self._files.kept(slot) if slot != _ABSENT else None
            if fd is not None:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED)

    def part_of(self, rows: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """The part each row lies in, numbered through all arrays in their order; -1 where there is none."""
        parts: Int64[np.ndarray, " n"] = self._part_of[rows].astype(np.int64)
        return parts

    def close(self) -> None:
        """Close the files; reading afterwards is a ValueError."""
        self._files.close()
        self._rows.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_parts(self, arrays: Sequence[ArrayRef], allow_partial: bool, only_rows: set[int] | None) -> None:
        start, missing = 0, 0
        for array in arrays:
            finished = set(array.finished_parts())
            for number in range(array.num_parts):
                rows = array.meta.part_range(number)
                if only_rows is not None and only_rows.isdisjoint(range(start + rows.start, start + rows.stop)):
                    continue
                if number in finished:
                    self._add(self._files.open(array, number), start + rows.start)
                else:
                    missing += 1
            start += array.rows
        if missing and not allow_partial:
            there = int(self.readable.sum())
            raise StoreIncomplete(
                f"{self.spec.key} in {arrays[0].layout.root} is not finished: {missing} parts are missing",
                found=f"{there} of {self.num_rows} rows ({there / self.num_rows:.0%})",
                expected="all rows" if only_rows is None else f"the {len(only_rows)} rows asked for",
                remedy="finish the extraction, or allow a partial store",
            )

    def _add(self, part: Part, start: int) -> None:
        """Enter an opened part into the tables; ``start`` is its first global row."""
        where = slice(start, start + part.receipt.rows)
        self._part_of[where] = len(self._files.parts) - 1
        packed = part.array.meta.codec != "none"
        self._gaps[len(self._files.parts) - 1] = -1 if packed else part.array.format.row_tail_bytes
        self._offset_of[where], self._size_of[where], self._crc_of[where] = part.offsets, part.sizes, part.checksums

    def _check_request(self, rows: Int64[np.ndarray, " n"], out: Shaped[np.ndarray, "..."]) -> None:
        expected = (len(rows), *self.spec.stored_shape)
        if self._files.closed:
            raise ValueError("this reader is closed")
        if rows.ndim != 1 or (rows.dtype.kind not in "iu" and len(rows)):
            raise ValueError(f"rows must be one axis of integers, not {rows.dtype} {rows.shape}")
        if out.shape != expected or out.dtype != self.dtype or not (out.flags.c_contiguous and out.flags.writeable):
            raise ValueError(f"the buffer must be writable C-contiguous {self.dtype} {expected}")
        if not len(rows):
            return
        low, high = rows.min(), rows.max()
        if low < 0 or high >= self.num_rows:
            raise IndexError(f"row {low if low < 0 else high} is outside 0 … {self.num_rows - 1}")
        if self._whole:
            return
        absent = self._part_of[rows] == _ABSENT
        if absent.any():
            raise StoreIncomplete(
                f"row {rows[absent.argmax()]} of {self.spec.key} is not there: its part was not finished "
                "when the reader was opened"
            )

    def _check(self, row: int, numbers: Row) -> None:
        """Compare a row's crc32c with the receipt's."""
        found, expected = google_crc32c.value(numbers), int(self._crc_of[row])
        if found != expected:
            raise StoreCorrupt(
                f"row {row} in {self._files.parts[self._part_of[row]].label} is not the one its receipt describes",
                found=f"crc32c {found:08x}",
                expected=f"{expected:08x}",
                remedy=REPAIR,
            )


def _one_scale(arrays: Sequence[ArrayRef]) -> ChannelScale | None:
    """The scale that all arrays of an int8 feature share; StoreCorrupt if they do not."""
    scale = arrays[0].meta.channel_scale
    for array in arrays:
        if array.meta.channel_scale != scale:
            raise StoreCorrupt(f"{array.path} has another channel scale than {arrays[0].path}")
    return scale
