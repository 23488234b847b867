"""Reading rows: ``preadv`` straight into the caller's buffer, checked, and nothing in between.

Opening reads the receipt and the row index of every part, so that what is missing is known before the first row is
asked for. A row is then one read at a known offset. Its crc32c is compared with the one in the part's receipt, which
finds damage and also a file that is whole but not the one the receipt was written for.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Literal, Self

import google_crc32c
import numpy as np
from jaxtyping import Bool, Int64, Shaped, UInt8

from ..errors import StoreCorrupt, StoreIncomplete
from ..spec import FeatureSpec
from .array import ArrayRef
from .codecs import decompress
from .int8 import ChannelScale
from .parts import Part, PartFiles, read_fully

Verify = Literal["first", "always", "never"]

_ABSENT = -1
_CRC = 4
_FETCHES = 8
_REPAIR = "find all damage with `vtt store verify --full`, then `vtt store repair`"


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

    The parts of a remote store come when their first row is read; until then their receipts and sizes are known.
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
        self._verified = np.full(self.num_rows, verify == "never")
        self._awaited: dict[int, int] = {}  # parts of a remote store whose files have not come: slot -> first row
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
        if self._awaited:
            self._bring(rows)
        flat = out.reshape(len(rows), -1).view(np.uint8)  # (n, row_bytes)
        slots, offsets = self._part_of[rows].tolist(), self._offset_of[rows].tolist()
        due = np.ones(len(rows), bool) if self._verify == "always" else ~self._verified[rows]
        for start, stop in self._runs(rows):
            self._read_run(slots[start], offsets[start], rows[start:stop], flat[start:stop])
            if due[start:stop].any():
                self._check_rows(rows[start:stop], flat[start:stop])
        if self._verify == "first":
            self._verified[rows] = True

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
                if number in finished and array.layout.remote is not None:
                    part = self._files.announce(array, number)
                    self._awaited[len(self._files.parts) - 1] = start + rows.start
                    self._part_of[start + rows.start : start + rows.stop] = len(self._files.parts) - 1
                    self._crc_of[start + rows.start : start + rows.stop] = part.checksums
                elif number in finished:
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

    def _bring(self, rows: Int64[np.ndarray, " n"]) -> None:
        """Fetch the parts of these rows that have not come; several threads may want the same."""
        slots = [slot for slot in np.unique(self._part_of[rows]).tolist() if slot in self._awaited]
        if not slots:
            return
        with ThreadPoolExecutor(_FETCHES) as pool:
            for slot, part in zip(slots, pool.map(self._files.bring, slots), strict=True):
                start = self._awaited.get(slot)
                if start is not None:
                    self._enter(part, slot, start)
                    self._awaited.pop(slot, None)  # only now: other threads read what was just entered

    def _add(self, part: Part, start: int) -> None:
        """Enter an opened part into the tables; ``start`` is its first global row."""
        self._enter(part, len(self._files.parts) - 1, start)

    def _enter(self, part: Part, slot: int, start: int) -> None:
        where = slice(start, start + part.receipt.rows)
        self._part_of[where] = slot
        packed = part.array.meta.codec != "none"
        self._gaps[slot] = -1 if packed else part.array.format.row_tail_bytes
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
        gaps = self._gaps[parts[1:]]
        follows = (parts[1:] == parts[:-1]) & (gaps >= 0) & (np.diff(offsets) == self.spec.row_bytes + gaps)
        ends = [*(np.flatnonzero(~follows) + 1).tolist(), len(rows)]
        return zip([0, *ends[:-1]], ends, strict=True)

    def _read_run(
        self, slot: int, offset: int, rows: Int64[np.ndarray, " n"], flat: UInt8[np.ndarray, "n bytes"]
    ) -> None:
        """One ``preadv`` for rows that follow each other; checksums between them are read and let go."""
        between = int(self._gaps[slot])
        if between < 0:
            self._unpack(slot, offset, int(rows[0]), flat[0])
            return
        buffers = list(flat)
        if between and len(rows) > 1:
            gap = np.empty(between, np.uint8)
            buffers = [buffer for row in flat for buffer in (row, gap)][:-1]
        wanted = flat.nbytes + between * (len(rows) - 1)
        done = self._pread(slot, buffers, offset, wanted, int(rows[0]))
        if done != wanted:
            row = rows[done // (self.spec.row_bytes + between)]
            raise StoreCorrupt(f"{self._files.parts[slot].label} ends inside row {row}", remedy=_REPAIR)

    def _unpack(self, slot: int, offset: int, row: int, out: UInt8[np.ndarray, " bytes"]) -> None:
        """One compressed row and its own checksum."""
        label, packed = self._files.parts[slot].label, np.empty(int(self._size_of[row]) + _CRC, np.uint8)
        if self._pread(slot, [packed], offset, packed.nbytes, row) != packed.nbytes:
            raise StoreCorrupt(f"{label} ends inside row {row}", remedy=_REPAIR)
        data = packed[:-_CRC].tobytes()
        try:
            if google_crc32c.value(data) != int.from_bytes(packed[-_CRC:].tobytes(), "little"):
                raise ValueError("its checksum is wrong")
            decompress(data, out)
        except ValueError as error:
            raise StoreCorrupt(f"row {row} in {label} cannot be unpacked", found=error, remedy=_REPAIR) from error

    def _pread(self, slot: int, buffers: list[UInt8[np.ndarray, " bytes"]], offset: int, wanted: int, row: int) -> int:
        try:
            fd = self._files.kept(slot)
            if fd is not None:
                done = os.preadv(fd, buffers, offset)
                return done if done == wanted else read_fully(fd, buffers, offset)
            with self._files.file(slot) as fd:
                return read_fully(fd, buffers, offset)
        except OSError as error:
            label = self._files.parts[slot].label
            raise StoreCorrupt(f"{label} cannot be read from row {row} on", found=error.strerror) from error

    def _check_rows(self, rows: Int64[np.ndarray, " n"], flat: UInt8[np.ndarray, "n bytes"]) -> None:
        """Compare the crc32c of rows with the receipt's."""
        for row, expected, numbers in zip(rows.tolist(), self._crc_of[rows].tolist(), flat, strict=True):
            found = google_crc32c.value(numbers)
            if found != expected:
                raise StoreCorrupt(
                    f"row {row} in {self._files.parts[self._part_of[row]].label} is not the one its receipt describes",
                    found=f"crc32c {found:08x}",
                    expected=f"{expected:08x}",
                    remedy=_REPAIR,
                )


def _one_scale(arrays: Sequence[ArrayRef]) -> ChannelScale | None:
    """The scale that all arrays of an int8 feature share; StoreCorrupt if they do not."""
    scale = arrays[0].meta.channel_scale
    for array in arrays:
        if array.meta.channel_scale != scale:
            raise StoreCorrupt(f"{array.path} has another channel scale than {arrays[0].path}")
    return scale
