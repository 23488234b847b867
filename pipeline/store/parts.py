"""The finished parts behind a reader: proven when opened, their files kept open while there are few."""

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8, UInt32

from ..errors import StoreCorrupt, StoreError, StoreIncomplete
from .array import ArrayRef
from .files import refuse_links, retry_stale
from .format import DamageError
from .layout import part_name
from .receipt import Receipt, read_receipt


@dataclass(frozen=True)
class Part:
    """One finished part and its file.

    Args:
        array: the array it belongs to.
        number: which part.
        path: its file.
        receipt: what it holds.
        offsets: (rows,) where each row begins in the file; none before the file of a remote store has come.
        sizes: (rows,) how many bytes each row has there, its checksum not counted.
        checksums: (rows,) the crc32c of every row's numbers, from the receipt.
    """

    array: ArrayRef
    number: int
    path: str
    receipt: Receipt
    offsets: Int64[np.ndarray, " rows"]
    sizes: Int64[np.ndarray, " rows"]
    checksums: UInt32[np.ndarray, " rows"]

    @property
    def label(self) -> str:
        """Store, array and part, for an error."""
        return _label(self.array, self.number)


class PartFiles:
    """Open files of parts, by slot (the order of :meth:`open`). Any number of threads may use :meth:`file` at once.

    A new file gets the lowest number that is free, so one below half of what is allowed says that the whole process,
    with all its readers, has few files open; only such a file is kept.
    """

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.closed = False
        self._files: dict[int, int] = {}
        self._allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._lock = threading.Lock()

    def open(self, array: ArrayRef, number: int) -> Part:
        """Open one finished part, its receipt and row index proven.

        Raises:
            StoreIncomplete: the file, or one of its rows, is missing.
            StoreCorrupt: the receipt, the file's size or its index is damaged.
            StoreError: the file or its folder is a link, or cannot be opened.
        """
        part = self._announced(array, number)
        self.parts.append(part)
        return self._load(len(self.parts) - 1)

    def announce(self, array: ArrayRef, number: int) -> Part:
        """Enter a finished part of a remote store, its receipt proven; its file comes with :meth:`bring`.

        Raises:
            StoreIncomplete, StoreCorrupt: the remote place has no such file, or one of another size.
        """
        part = self._announced(array, number)
        if array.layout.remote is not None:
            array.layout.remote.expect(array.part_path(number), part.receipt.bytes)
        self.parts.append(part)
        return part

    def bring(self, slot: int) -> Part:
        """Fetch an announced part's file if the local copy lacks it, and open it; raises as :meth:`open`."""
        part = self.parts[slot]
        if part.array.layout.remote is not None:
            part.array.layout.remote.provide(Path(part.path), part.receipt.bytes, part.receipt.sha256)
        return self._load(slot)

    def kept(self, slot: int) -> int | None:
        """The file of a part if it is open."""
        return self._files.get(slot)

    def may_be_mapped(self, slot: int) -> bool:
        """Whether a mapping, which takes a file number of its own, leaves enough of them to others."""
        return self._files.get(slot, self._allowed) < self._allowed // 4

    @contextmanager
    def file(self, slot: int) -> Iterator[int]:
        """The file of a part: kept open while there are few, else opened for this use only."""
        fd = self._files.get(slot)
        if fd is not None:
            yield fd
            return
        part = self.parts[slot]
        fd = _open_file(part.array, part.number, part.path)
        kept = self._keep(slot, fd)
        try:
            yield fd
        finally:
            if not kept:
                os.close(fd)

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            self.closed = True
            files, self._files = self._files, {}
        for fd in files.values():
            os.close(fd)

    def _announced(self, array: ArrayRef, number: int) -> Part:
        refuse_links(array.layout.root, array.path)
        receipt, none = _proven_receipt(array, number), np.empty(0, np.int64)
        return Part(array, number, str(array.part_path(number)), receipt, none, none, receipt.row_checksums)

    def _load(self, slot: int) -> Part:
        part = self.parts[slot]
        fd = _open_file(part.array, part.number, part.path)
        try:
            spans = _spans(part.array, part.number, part.receipt, fd)
            part = self.parts[slot] = replace(part, offsets=spans[:, 0], sizes=spans[:, 1])
        except BaseException:
            os.close(fd)
            raise
        if not self._keep(slot, fd):
            os.close(fd)
        return part

    def _keep(self, slot: int, fd: int) -> bool:
        with self._lock:
            keep = not self.closed and slot not in self._files and fd < self._allowed // 2
            if keep:
                self._files[slot] = fd
            return keep


def read_fully(fd: int, buffers: list[UInt8[np.ndarray, " bytes"]], offset: int) -> int:
    """Fill the buffers from the file; returns the bytes read, fewer than asked for only at the end of the file."""
    done, wanted = os.preadv(fd, buffers, offset), sum(buffer.nbytes for buffer in buffers)
    while 0 < done < wanted:
        more = os.preadv(fd, _after(buffers, done), offset + done)
        if not more:
            break
        done += more
    return done


def _after(buffers: list[UInt8[np.ndarray, " bytes"]], skip: int) -> list[UInt8[np.ndarray, " bytes"]]:
    """What is left of the buffers behind their first ``skip`` bytes."""
    rest = []
    for buffer in buffers:
        if skip < buffer.nbytes:
            rest.append(buffer[skip:])
        skip = max(0, skip - buffer.nbytes)
    return rest


def _label(array: ArrayRef, number: int) -> str:
    return f"part {part_name(number)} of {array.key} (index {array.index_id}) in {array.layout.root}"


def _proven_receipt(array: ArrayRef, number: int) -> Receipt:
    rows, receipt = array.meta.part_range(number), read_receipt(array.layout.root, array.receipt_path(number))
    said = (receipt.index_id, receipt.feature, receipt.row_start, receipt.row_stop)
    expected = (array.index_id, array.key, rows.start, rows.stop)
    if said != expected:
        raise StoreCorrupt(
            f"the receipt of {_label(array, number)} is of another part", found=list(said), expected=list(expected)
        )
    if receipt.bytes > array.meta.most_bytes(receipt.rows):
        raise StoreCorrupt(
            f"the receipt of {_label(array, number)} says more bytes than such rows can have",
            found=receipt.bytes,
            expected=f"at most {array.meta.most_bytes(receipt.rows)}",
        )
    return receipt


def _spans(array: ArrayRef, number: int, receipt: Receipt, fd: int) -> Int64[np.ndarray, "rows 2"]:
    label, size = _label(array, number), os.fstat(fd).st_size
    if size != receipt.bytes:
        raise StoreCorrupt(
            f"{label} has another size than its receipt says",
            found=f"{size} bytes",
            expected=f"{receipt.bytes} bytes",
            remedy="repair the store",
        )
    try:
        spans = array.format.row_spans(array.meta, receipt.rows, size, lambda at, n: os.pread(fd, n, at))
    except DamageError as error:
        raise StoreCorrupt(f"{label} is damaged", found=error, remedy="repair the store") from error
    except OSError as error:
        raise StoreError(f"{label} cannot be read", found=error.strerror) from error
    if (spans[:, 0] < 0).any():
        row = int((spans[:, 0] < 0).argmax())
        raise StoreIncomplete(f"{label} lacks its row {row} though it has a receipt", remedy="repair the store")
    return spans


def _open_file(array: ArrayRef, number: int, path: str) -> int:
    label = _label(array, number)
    try:
        return retry_stale(os.open, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise StoreIncomplete(
            f"the file of {label} is missing though it has a receipt", found=path, remedy="repair the store"
        ) from error
    except OSError as error:
        raise StoreError(f"the file of {label} cannot be opened", found=f"{path}: {error.strerror}") from error
