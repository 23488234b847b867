"""Rows through the formats' own libraries: zarr-python for Zarr, h5py for HDF5.

Far slower than :mod:`.direct` and with the same results: for systems without ``preadv``, and to hold the direct reader
against. Every row is checked in the same way.
"""

import threading
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from ..errors import StoreCorrupt
from .format import DamageError
from .places import REPAIR, Places, Row
from .row_check import RowCheck


class LibraryRows:
    """Reads rows part by part. Any number of threads may use :meth:`read`; they take turns.

    Args:
        places: where rows lie.
        check: refuses a row whose checksum is wrong.
    """

    def __init__(self, places: Places, check: RowCheck) -> None:
        self._files, self._part_of, self._check = places.files, places.part_of, check
        self._first: dict[int, int] = {}
        self._lock = threading.Lock()

    def read(self, rows: Int64[np.ndarray, " n"], buffers: list[Row], known: Bool[np.ndarray, " n"]) -> None:
        """Fill the buffers; arguments as of :meth:`~.direct.DirectRows.read`."""
        slots, expected = self._part_of[rows], self._check.expected(rows)
        for slot in np.unique(slots).tolist():
            places = np.flatnonzero(slots == slot)
            with self._lock:
                values = self._read_part(slot, rows[places])
            for i, numbers in zip(places.tolist(), values, strict=True):
                buffers[i][:] = numbers
                if self._check.is_due(bool(known[i])):
                    self._check(int(rows[i]), buffers[i], expected[i])

    def close(self) -> None:
        """Nothing is kept open."""

    def _read_part(self, slot: int, rows: Int64[np.ndarray, " n"]) -> Iterator[UInt8[np.ndarray, " row_bytes"]]:
        part = self._files.parts[slot]
        if slot not in self._first:
            self._first[slot] = int((self._part_of == slot).argmax())
        wanted, order = np.unique(rows - self._first[slot], return_inverse=True)
        try:
            values = part.array.format.read_rows(part.array.meta, part.array.path, part.number, wanted)
        except DamageError as error:
            raise StoreCorrupt(f"{part.label} is damaged", found=error, remedy=REPAIR) from error
        flat = np.ascontiguousarray(values).view(np.uint8).reshape(len(wanted), -1)
        return (flat[i] for i in order.tolist())
