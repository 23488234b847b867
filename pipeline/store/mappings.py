"""Parts mapped into memory, for rows that were read before and are therefore in the page cache.

Copying from a mapping costs about two thirds of what ``preadv`` costs, but only while the pages are there: a page that
is not comes in one fault at a time, and a file that shrinks meanwhile ends the process. So a part is mapped only if
it lies on a local file system, where nobody but this machine changes it, and if all parts of the reader together take
a small share of the free memory; and its size is looked at again and again.
"""

import mmap
import os

import numpy as np
from jaxtyping import UInt8

from ..machine import LOCAL_FILE_SYSTEMS, available_memory, file_system
from .parts import PartFiles

LOOK_EVERY = 16
"""Batches between two looks at the sizes of files; nothing of ours ever changes a file that is committed."""

MEMORY_SHARE = 0.25
"""Parts that together take more of the free memory are read with ``preadv`` for ever."""


class Mappings:
    """Mapped parts by slot, made when they are first asked for. Safe to use from several threads.

    Args:
        files: the parts.
        allowed: map at all.
    """

    def __init__(self, files: PartFiles, *, allowed: bool = True) -> None:
        self._files, self._allowed = files, allowed
        self._small: bool | None = None
        self._batches = 0
        self._maps: dict[int, UInt8[np.ndarray, " bytes"] | None] = {}

    def of(self, slots: set[int]) -> dict[int, UInt8[np.ndarray, " bytes"]]:
        """The bytes of those parts that may be read this way now; no entry for the others."""
        if not self._allowed or not self._fits():
            return {}
        self._batches += 1
        if self._batches % LOOK_EVERY and self._maps.keys() >= slots:
            found = self._maps
        else:
            found = {slot: self._whole(slot) for slot in slots}
        return {slot: data for slot in slots if (data := found[slot]) is not None}

    def clear(self) -> None:
        """Let go of all mappings."""
        self._allowed, self._maps = False, {}

    def _fits(self) -> bool:
        if self._small is None:
            needed = sum(part.receipt.bytes for part in self._files.parts)
            self._small = needed <= MEMORY_SHARE * available_memory()
        return self._small

    def _whole(self, slot: int) -> UInt8[np.ndarray, " bytes"] | None:
        """The part if its file is open and as long as it was when it was opened."""
        fd = self._files.kept(slot)
        if fd is None or os.fstat(fd).st_size != self._files.parts[slot].receipt.bytes:
            self._maps[slot] = None
        elif slot not in self._maps:
            self._maps[slot] = _map(fd) if self._files.may_be_mapped(slot) else None
        return self._maps[slot]


def _map(fd: int) -> UInt8[np.ndarray, " bytes"] | None:
    if file_system(os.fstat(fd).st_dev) not in LOCAL_FILE_SYSTEMS:
        return None
    try:
        return np.frombuffer(mmap.mmap(fd, 0, prot=mmap.PROT_READ), np.uint8)
    except OSError:  # out of address space, or a file system that cannot
        return None
