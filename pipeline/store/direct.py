"""Rows straight from the files of their parts: ``preadv`` into the caller's buffer, and nothing in between.

Rows that follow each other in a file are one read. A row that was read before is copied from a mapping of its part
where that is safe (:mod:`.mappings`). A checksum is taken right behind the row's read, while it is in the cache.
"""

import os

import numpy as np
from jaxtyping import Bool, Int64

from ..errors import StoreCorrupt
from .codecs import decompress
from .crc import CRC_BYTES, crc32c
from .mappings import Mappings
from .parts import read_fully
from .places import REPAIR, Places, Row
from .row_check import RowCheck

RUN_BYTES = 1 << 20
"""Most bytes a read of neighbouring rows takes at once: what a core's cache still holds when they are checked."""


class DirectRows:
    """Reads rows at known places. Any number of threads may use :meth:`read` at once.

    Args:
        places: where they lie.
        check: refuses a row whose checksum is wrong.
    """

    def __init__(self, places: Places, check: RowCheck) -> None:
        self._places, self._files, self._row_bytes, self._check = places, places.files, places.row_bytes, check
        self._run_rows = max(1, RUN_BYTES // places.row_bytes)
        self._maps = Mappings(places.files, allowed=not places.packed)

    def read(self, rows: Int64[np.ndarray, " n"], buffers: list[Row], known: Bool[np.ndarray, " n"]) -> None:
        """Fill the buffers.

        Args:
            rows: (n,) global row numbers, all there.
            buffers: one a row.
            known: which rows were read before.
        """
        left = self._copy_known(rows, buffers, known) if np.count_nonzero(known) else list(range(len(rows)))
        if left:
            self._read_rest(rows[left], [buffers[i] for i in left], known[left])

    def close(self) -> None:
        """Let go of mapped parts."""
        self._maps.clear()

    def _copy_known(
        self, rows: Int64[np.ndarray, " n"], buffers: list[Row], known: Bool[np.ndarray, " n"]
    ) -> list[int]:
        """Copy what is mapped; returns the positions of all other rows."""
        slots, offsets = self._places.part_of[rows].tolist(), self._places.offset_of[rows].tolist()
        needed, size, always = set(slots), self._row_bytes, self._check.always
        maps = self._maps.of(needed)
        if len(maps) == len(needed) and not always and np.count_nonzero(known) == len(rows):  # the common case
            for slot, offset, buffer in zip(slots, offsets, buffers, strict=True):
                buffer[:] = maps[slot][offset : offset + size]
            return []
        left, expected = [], self._check.expected(rows)
        for i, (row, before) in enumerate(zip(rows.tolist(), known.tolist(), strict=True)):
            if before and slots[i] in maps:
                buffers[i][:] = maps[slots[i]][offsets[i] : offsets[i] + size]
                if always:
                    self._check(row, buffers[i], expected[i])
            else:
                left.append(i)
        return left

    def _read_rest(self, rows: Int64[np.ndarray, " n"], buffers: list[Row], known: Bool[np.ndarray, " n"]) -> None:
        """Read from the files; if some are new, ask for all at once, so that a disk works on many together."""
        slots, offsets = self._places.part_of[rows].tolist(), self._places.offset_of[rows].tolist()
        numbers, before, expected = rows.tolist(), known.tolist(), self._check.expected(rows)
        runs = self._runs(rows)
        if len(runs) > 1 and not known.all():
            self._ask_for(slots, offsets, runs)
        for start, stop in runs:
            self._read_run(slots[start], offsets[start], numbers[start:stop], buffers[start:stop])
            for i in range(start, stop):
                if self._check.is_due(before[i]):
                    self._check(numbers[i], buffers[i], expected[i])

    def _ask_for(self, slots: list[int], offsets: list[int], runs: list[tuple[int, int]]) -> None:
        for start, stop in runs:
            fd = self._files.kept(slots[start])
            if fd is not None:
                os.posix_fadvise(fd, offsets[start], (stop - start) * self._row_bytes, os.POSIX_FADV_WILLNEED)

    def _runs(self, rows: Int64[np.ndarray, " n"]) -> list[tuple[int, int]]:
        """Positions [start, stop) whose rows follow each other in one file and are one read."""
        parts, offsets = self._places.part_of[rows], self._places.offset_of[rows]
        gaps = self._places.gaps[parts[1:]]
        follows = (parts[1:] == parts[:-1]) & (gaps >= 0) & (np.diff(offsets) == self._row_bytes + gaps)
        begins = np.flatnonzero(np.concatenate([[True], ~follows]))
        within = np.arange(len(rows)) - np.repeat(begins, np.diff(begins, append=len(rows)))
        starts = np.flatnonzero(within % self._run_rows == 0).tolist()
        return list(zip(starts, [*starts[1:], len(rows)], strict=True))

    def _read_run(self, slot: int, offset: int, rows: list[int], buffers: list[Row]) -> None:
        """One ``preadv`` for rows that follow each other; checksums between them are read and let go."""
        between = int(self._places.gaps[slot])
        if between < 0:
            self._unpack(slot, offset, rows[0], buffers[0])
            return
        into = buffers
        if between and len(rows) > 1:
            gap = np.empty(between, np.uint8)
            into = [buffer for row in buffers for buffer in (row, gap)][:-1]
        wanted = len(rows) * (self._row_bytes + between) - between
        done = self._pread(slot, into, offset, wanted, rows[0])
        if done != wanted:
            row = rows[(done + between) // (self._row_bytes + between)]  # the first that is not whole
            raise StoreCorrupt(f"{self._files.parts[slot].label} ends inside row {row}", remedy=REPAIR)

    def _unpack(self, slot: int, offset: int, row: int, out: Row) -> None:
        """One compressed row and its own checksum."""
        packed = np.empty(int(self._places.size_of[row]) + CRC_BYTES, np.uint8)
        if self._pread(slot, [packed], offset, packed.nbytes, row) != packed.nbytes:
            raise StoreCorrupt(f"{self._files.parts[slot].label} ends inside row {row}", remedy=REPAIR)
        data = packed[:-CRC_BYTES].tobytes()
        try:
            if crc32c(data) != int.from_bytes(packed[-CRC_BYTES:].tobytes(), "little"):
                raise ValueError("its checksum is wrong")
            decompress(data, out)
        except ValueError as error:
            label = self._files.parts[slot].label
            raise StoreCorrupt(f"row {row} in {label} cannot be unpacked", found=error, remedy=REPAIR) from error

    def _pread(self, slot: int, buffers: list[Row], offset: int, wanted: int, row: int) -> int:
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
