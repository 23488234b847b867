"""Where the rows of a feature lie: the finished parts behind a reader, and every row's place and checksum in them."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from ..errors import StoreIncomplete
from .array import ArrayRef
from .parts import Part, PartFiles
from .receipt import Receipt

ABSENT = -1
"""The slot of a row that is not there."""

REPAIR = "find all damage with `vtt store verify --full`, then `vtt store repair`"

_FETCHES = 8

type Row = UInt8[np.ndarray, " row_bytes"]


class Places:
    """Rows by global row number, parts by slot (the order in which they were opened).

    The parts of a remote store come when they are first asked for; until then their receipts and sizes are known.

    Args:
        arrays: all arrays of the feature, by index id.
        allow_partial: open although parts are missing.
        only_rows: open only the parts that hold these global rows; the others count neither as there nor as missing.

    Attributes:
        files: the parts, by slot.
        row_bytes: bytes of a row's numbers.
        packed: whether rows are compressed.
        part_of: (rows,) int32, the slot of every row's part, :data:`ABSENT` for a row that is not there.
        offset_of: (rows,) int64, where the row begins in the part's file.
        size_of: (rows,) int64, its bytes there.
        crc_of: (rows,) uint32, the crc32c of its numbers, from the receipt.
        gaps: (parts,) int64, bytes between two rows of a part, -1 if its rows are compressed.

    Raises:
        StoreIncomplete: parts have no receipt (unless ``allow_partial``), or a receipted part lacks its file or a row.
        StoreCorrupt: a receipt, a file's size or a row index is damaged.
    """

    def __init__(
        self, arrays: Sequence[ArrayRef], *, allow_partial: bool, only_rows: Int64[np.ndarray, " n"] | None
    ) -> None:
        rows = sum(array.rows for array in arrays)
        self.files = PartFiles()
        self.row_bytes = arrays[0].spec.row_bytes
        self.packed = any(array.meta.codec != "none" for array in arrays)
        self.part_of = np.full(rows, ABSENT, np.int32)
        self.offset_of = np.zeros(rows, np.int64)
        self.size_of = np.zeros(rows, np.int64)
        self.crc_of = np.zeros(rows, np.uint32)
        self.gaps = np.zeros(sum(array.num_parts for array in arrays), np.int64)
        self._awaited: dict[int, int] = {}  # slots whose files have not come, and their first global rows
        self._coming: dict[int, Future[Part]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._lock = Lock()
        try:
            self._open(arrays, allow_partial, None if only_rows is None else set(np.unique(only_rows).tolist()))
        except BaseException:
            self.files.close()
            raise

    @property
    def readable(self) -> Bool[np.ndarray, " rows"]:
        """Which rows are there."""
        found: Bool[np.ndarray, " rows"] = self.part_of != ABSENT
        return found

    def rows_of(self, wanted: Callable[[Receipt], bool]) -> Int64[np.ndarray, " n"]:
        """The rows of the parts whose receipts are wanted."""
        slots = [slot for slot, part in enumerate(self.files.parts) if wanted(part.receipt)]
        return np.flatnonzero(np.isin(self.part_of, slots))

    def label(self, row: int) -> str:
        """Store, array and part of a row, for an error."""
        return self.files.parts[int(self.part_of[row])].label

    def bring(self, rows: Int64[np.ndarray, " n"]) -> None:
        """Have the parts of these rows here; several threads may want the same.

        Raises:
            StoreIncomplete, StoreCorrupt: the remote place lacks one, or has other bytes than the receipt says.
            MachineError: the place does not answer.
        """
        for slot, future in self._fetch(rows).items():
            try:
                part = future.result()
            except BaseException:
                self._coming.pop(slot, None)  # whoever asks next tries again
                raise
            start = self._awaited.get(slot)
            if start is not None:
                self._enter(part, slot, start)
                self._awaited.pop(slot, None)  # only now: other threads read what was just entered

    def bring_soon(self, rows: Int64[np.ndarray, " n"]) -> None:
        """Begin to fetch the parts of these rows; what fails is asked for again by :meth:`bring`."""
        self._fetch(rows)

    def close(self) -> None:
        """Close the files; what is being fetched comes to its end first."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self.files.close()

    def _fetch(self, rows: Int64[np.ndarray, " n"]) -> dict[int, Future[Part]]:
        """Downloads of the parts that have not come, begun unless they are under way."""
        if not self._awaited:
            return {}
        slots = [slot for slot in np.unique(self.part_of[rows]).tolist() if slot in self._awaited]
        with self._lock:
            self._pool = self._pool or ThreadPoolExecutor(_FETCHES)
            for slot in slots:
                if slot not in self._coming:
                    self._coming[slot] = self._pool.submit(self.files.bring, slot)
            return {slot: self._coming[slot] for slot in slots}

    def _open(self, arrays: Sequence[ArrayRef], allow_partial: bool, only_rows: set[int] | None) -> None:
        start, missing = 0, 0
        for array in arrays:
            finished, remote = set(array.finished_parts()), array.layout.remote is not None
            for number in range(array.num_parts):
                rows = array.meta.part_range(number)
                if only_rows is not None and only_rows.isdisjoint(range(start + rows.start, start + rows.stop)):
                    continue
                if number not in finished:
                    missing += 1
                    continue
                slot = len(self.files.parts)
                part = (self.files.announce if remote else self.files.open)(array, number)
                if remote:
                    self._awaited[slot] = start + rows.start
                self._enter(part, slot, start + rows.start)
            start += array.rows
        if missing and not allow_partial:
            there = int(self.readable.sum())
            raise StoreIncomplete(
                f"{arrays[0].key} in {arrays[0].layout.root} is not finished: {missing} parts are missing",
                found=f"{there} of {start} rows ({there / start:.0%})",
                expected="all rows" if only_rows is None else f"the {len(only_rows)} rows asked for",
                remedy="finish the extraction, or allow a partial store",
            )

    def _enter(self, part: Part, slot: int, start: int) -> None:
        """Write a part into the tables; ``start`` is its first global row."""
        where = slice(start, start + part.receipt.rows)
        self.part_of[where], self.crc_of[where] = slot, part.checksums
        self.gaps[slot] = -1 if part.array.meta.codec != "none" else part.array.format.row_tail_bytes
        if len(part.offsets):
            self.offset_of[where], self.size_of[where] = part.offsets, part.sizes
