"""What a reader asks the system for."""

import errno
import os
from typing import NamedTuple

import numpy as np


class Pread(NamedTuple):
    """One call of ``os.preadv``: bytes asked for, pieces they go into, where in the file."""

    bytes: int
    pieces: int
    offset: int


class Preads(list):
    """Every call of ``os.preadv`` from now on; the reads are real.

    Args:
        patch: pytest's.
        most: no call gives more bytes than this, as a signal or a network file system may have it.
        failing: the number of the call that fails with EIO.
    """

    def __init__(self, patch, *, most=None, failing=None):
        super().__init__()
        self.most, self.failing, self._real = most, failing, os.preadv
        patch.setattr(os, "preadv", self._read)

    def _read(self, fd, buffers, offset):
        if len(self) == self.failing:
            self.failing = None
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.append(Pread(sum(len(buffer) for buffer in buffers), len(buffers), offset))
        return self._real(fd, buffers if self.most is None else first_bytes(buffers, self.most), offset)


def first_bytes(buffers, count):
    """The first bytes of buffers that follow each other."""
    found = []
    for buffer in buffers:
        found.append(buffer[: max(0, count)])
        count -= len(buffer)
    return [piece for piece in found if len(piece)]


def read(reader, rows):
    """Rows as they are stored, into a buffer that held something else."""
    out = np.empty((len(rows), *reader.spec.stored_shape), reader.dtype)
    out.view(np.uint8)[:] = 0xAB
    reader.read_into(np.asarray(rows), out)
    return out


def is_mapped(path):
    """Whether this process has a file mapped."""
    with open("/proc/self/maps") as maps:
        return any(line.rstrip("\n").endswith(f" {path}") for line in maps)
