"""Reading rows: ``preadv`` straight into the caller's buffer, checked, and nothing in between.

Opening reads the receipt and the shard index of every part, so that what is missing is known before the first row is
asked for. A row is then one read at a known offset. Its crc32c is compared with the one behind it in the file and with
the one in the part's receipt: the first finds damage, the second a file that is whole but not the one the receipt was
written for.
"""

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Literal, Self

import google_crc32c
import numpy as np
from jaxtyping import Bool, Int64, Shaped, UInt8, UInt32

from ..errors import StoreCorrupt, StoreIncomplete
from ..spec import FeatureSpec
from .array import ArrayRef
from .parts import Part, PartFiles, read_fully

Verify = Literal["first", "always", "never"]

_ABSENT = -1
_CRC = 4


class RowReader:
    """Rows of one feature by global row number; the arrays follow each other in the order given.

    Any number of threads may call :meth:`read_into` at once, none while the reader is being closed. What is on disk
    when the reader is opened is what it reads; parts finished later need a new reader.

    Args:
        arrays: all arrays of the feature, by index id.
        verify: check a row's crc32c at its first read by this reader, at every read, or not at all.
        allow_partial: open although parts are missing; their rows cannot be read.
        only_rows: open only the parts that hold these global rows; the others count neither as there nor as missing.

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
    ) -> None:
        if verify not in ("first", "always", "never"):
            raise ValueError(f"verify is one of first, always, never, not {verify!r}")
        self.spec: FeatureSpec = arrays[0].spec
        self.num_rows: int = sum(array.rows for array in arrays)
        self.dtype: np.dtype[np.generic] = arrays[0].meta.dtype
        self._verify = verify
        self._files = PartFiles()
        self._part_of = np.full(self.num_rows, _ABSENT, np.int32)
        self._offset_of = np.zeros(self.num_rows, np.int64)
        self._crc_of = np.zeros(self.num_rows, np.uint32)
        self._verified = np.zeros(self.num_rows, bool)
        try:
            self._open_parts(arrays, allow_partial, None if only_rows is None else set(np.unique(only_rows).tolist()))
        except BaseException:
            self.close()
            raise

    @property
    def readable(self) -> Bool[np.ndarray, " num_rows"]:
        """Which rows are there; all of them unless the reader was opened with ``allow_partial``."""
        found: Bool[np.ndarray, " num_rows"] = self._part_of != _ABSENT
        return found

    def read_into(self, rows: Int64[np.ndarray, " n"], out: Shaped[np.ndarray, "n *shape"]) -> None:
        """Fill ``out`` with the numbers of ``rows``, in any order, repeats allowed.

        Args:
            rows: (n,) global row numbers.
            out: (n, *shape), C-contiguous, uint16 (bfloat16 bits) or float32, as the feature's tier says.

        Raises:
            StoreCorrupt: a row's bytes are not what its checksum or its receipt says; names store, array, part, row.
            StoreIncomplete: a row whose part is missing.
            IndexError, ValueError: a row number or a buffer that does not fit, or a closed reader.
        """
        rows = np.asarray(rows)
        self._check_request(rows, out)
        if not len(rows):
            return
        rows = rows.astype(np.int64, copy=False)
        flat = out.reshape(len(rows), -1).view(np.uint8)  # (n, row_bytes)
        tails = np.empty((len(rows), _CRC), np.uint8)
        for start, stop in self._runs(rows):
            self._read_run(rows[start:stop], flat[start:stop], tails[start:stop])
        if self._verify != "never":
            self._check_rows(rows, flat, tails.view("<u4")[:, 0])

    def close(self) -> None:
        """Close the files; reading afterwards is a ValueError."""
        self._files.close()

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
        self._offset_of[where], self._crc_of[where] = part.offsets, part.receipt.row_checksums

    def _check_request(self, rows: Int64[np.ndarray, " n"], out: Shaped[np.ndarray, "..."]) -> None:
        expected = (len(rows), *self.spec.shape)
        if self._files.closed:
            raise ValueError("this reader is closed")
        if rows.ndim != 1 or (rows.dtype.kind not in "iu" and len(rows)):
            raise ValueError(f"rows must be one axis of integers, not {rows.dtype} {rows.shape}")
        if out.shape != expected or out.dtype != self.dtype or not (out.flags.c_contiguous and out.flags.writeable):
            raise ValueError(f"the buffer must be writable C-contiguous {self.dtype} {expected}")
        if not len(rows):
            return
        if rows.min() < 0 or rows.max() >= self.num_rows:
            raise IndexError(f"row {rows.min() if rows.min() < 0 else rows.max()} is outside 0 … {self.num_rows - 1}")
        absent = self._part_of[rows] == _ABSENT
        if absent.any():
            raise StoreIncomplete(
                f"row {rows[absent.argmax()]} of {self.spec.key} is not there: its part was not finished "
                "when the reader was opened"
            )

    def _runs(self, rows: Int64[np.ndarray, " n"]) -> Iterator[tuple[int, int]]:
        """Positions [start, stop) whose rows follow each other in one file and are one read."""
        parts, offsets = self._part_of[rows], self._offset_of[rows]
        follows = (parts[1:] == parts[:-1]) & (np.diff(rows) == 1)
        for at in np.flatnonzero(follows):
            follows[at] = offsets[at + 1] - offsets[at] == self._files.parts[parts[at]].stride
        ends = [*(np.flatnonzero(~follows) + 1).tolist(), len(rows)]
        return zip([0, *ends[:-1]], ends, strict=True)

    def _read_run(
        self, rows: Int64[np.ndarray, " n"], flat: UInt8[np.ndarray, "n bytes"], tails: UInt8[np.ndarray, "n 4"]
    ) -> None:
        """One ``preadv`` for rows that follow each other: into the buffer, their checksums beside it."""
        slot = int(self._part_of[rows[0]])
        part, buffers = self._files.parts[slot], list(flat)
        if part.stride == self.spec.row_bytes:  # the format keeps checksums elsewhere: the receipt's alone are compared
            tails[:] = self._crc_of[rows].astype("<u4").view(np.uint8).reshape(-1, _CRC)
        else:
            buffers = [buffer for pair in zip(flat, tails, strict=True) for buffer in pair]
        try:
            with self._files.file(slot) as fd:
                done = read_fully(fd, buffers, int(self._offset_of[rows[0]]))
        except OSError as error:
            raise StoreCorrupt(f"{part.label} cannot be read from row {rows[0]} on", found=error.strerror) from error
        if done != part.stride * len(rows):
            raise StoreCorrupt(f"{part.label} ends inside row {rows[done // part.stride]}", remedy="repair the store")

    def _check_rows(
        self, rows: Int64[np.ndarray, " n"], flat: UInt8[np.ndarray, "n bytes"], tails: UInt32[np.ndarray, " n"]
    ) -> None:
        """Compare the crc32c of rows with the file's and the receipt's."""
        due = np.arange(len(rows)) if self._verify == "always" else np.flatnonzero(~self._verified[rows])
        if not len(due):
            return
        found = np.fromiter((google_crc32c.value(flat[at]) for at in due), np.uint32, len(due))
        for expected, what in (
            (tails[due], "fails its checksum"),
            (self._crc_of[rows[due]], "is not the one its receipt describes"),
        ):
            wrong = found != expected
            if wrong.any():
                at = int(wrong.argmax())
                raise StoreCorrupt(
                    f"row {rows[due[at]]} in {self._files.parts[self._part_of[rows[due[at]]]].label} {what}",
                    found=f"crc32c {found[at]:08x}",
                    expected=f"{expected[at]:08x}",
                    remedy="repair the store",
                )
        self._verified[rows[due]] = True
