"""Reading rows into the caller's buffer, checked: straight from the files, or through the formats' own libraries.

Opening reads the receipt and the row index of every part, so that what is missing is known before the first row is
asked for. A row is then one read at a known offset (:mod:`.direct`). Its crc32c is compared with the one in the part's
receipt, which finds damage and also a file that is whole but not the one the receipt was written for.
"""

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Literal, Self, get_args

import numpy as np
from jaxtyping import Bool, Int64, Shaped

from ..errors import StoreCorrupt, StoreIncomplete
from ..spec import FeatureSpec
from .array import ArrayRef
from .direct import DirectRows
from .int8 import ChannelScale
from .library import LibraryRows
from .places import ABSENT, Places
from .row_check import RowCheck, Verify

Engine = Literal["auto", "direct", "library"]


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
            far slower; ``auto`` is ``direct`` wherever the system has ``preadv`` and ``posix_fadvise``.

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
        engine: Engine = "auto",
    ) -> None:
        for what, given, known in (("engine", engine, get_args(Engine)), ("verify", verify, get_args(Verify))):
            if given not in known:
                raise ValueError(f"{what} is one of {', '.join(known)}, not {given!r}")
        self.spec: FeatureSpec = arrays[0].spec
        self.channel_scale: ChannelScale | None = _one_scale(arrays)
        self.num_rows: int = sum(array.rows for array in arrays)
        self.dtype: np.dtype[np.generic] = arrays[0].meta.dtype
        self._row_shape = self.spec.stored_shape
        self._known = np.zeros(self.num_rows, bool)  # read before, and found right unless never checked
        self._places = Places(arrays, allow_partial=allow_partial, only_rows=only_rows)
        self._whole = bool(self.readable.all())
        able = hasattr(os, "preadv") and hasattr(os, "posix_fadvise")
        direct = engine == "direct" or (engine == "auto" and able)
        self._rows = (DirectRows if direct else LibraryRows)(self._places, RowCheck(self._places, verify))

    @property
    def readable(self) -> Bool[np.ndarray, " num_rows"]:
        """Which rows are there; all of them unless the reader was opened with ``allow_partial``."""
        return self._places.readable

    def read_into(self, rows: Int64[np.ndarray, " n"], out: Shaped[np.ndarray, " n *stored"]) -> None:
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
        self._places.bring(rows)
        known = self._known[rows]
        self._rows.read(rows, list(out.reshape(len(rows), -1).view(np.uint8)), known)
        if np.count_nonzero(known) < len(rows):
            self._known[rows] = True

    def read_ahead(self, rows: Int64[np.ndarray, " n"]) -> None:
        """Ask the kernel to read the parts of these rows into its page cache, or fetch them if the store is remote.

        Parts whose files are not open now, because there are too many, are left out. Raises ValueError once closed.
        """
        if self._places.files.closed:
            raise ValueError("this reader is closed")
        self._places.bring_soon(rows)
        for slot in np.unique(self._places.part_of[rows]).tolist():
            fd = self._places.files.kept(slot) if slot != ABSENT else None
            if fd is not None and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED)

    def part_of(self, rows: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """The part each row lies in, numbered through all arrays in their order; -1 where there is none."""
        parts: Int64[np.ndarray, " n"] = self._places.part_of[rows].astype(np.int64)
        return parts

    @property
    def suspect_rows(self) -> Int64[np.ndarray, " n"]:
        """The rows of all parts whose receipts count numbers that are NaN or infinite."""
        return self._places.rows_of(lambda receipt: receipt.nan_count + receipt.inf_count > 0)

    def close(self) -> None:
        """Close the files; reading afterwards is a ValueError."""
        self._places.close()
        self._rows.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_request(self, rows: Int64[np.ndarray, " n"], out: Shaped[np.ndarray, "..."]) -> None:
        expected = (len(rows), *self._row_shape)
        if self._places.files.closed:
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
        absent = self._places.part_of[rows] == ABSENT
        if absent.any():
            raise StoreIncomplete(
                f"row {rows[absent.argmax()]} of {self.spec.key} is not there: its part was not finished "
                "when the reader was opened"
            )


def _one_scale(arrays: Sequence[ArrayRef]) -> ChannelScale | None:
    """The scale that all arrays of an int8 feature share; StoreCorrupt if they do not."""
    scale = arrays[0].meta.channel_scale
    for array in arrays:
        if array.meta.channel_scale != scale:
            raise StoreCorrupt(f"{array.path} has another channel scale than {arrays[0].path}")
    return scale
