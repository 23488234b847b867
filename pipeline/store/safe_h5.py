"""The one place that opens HDF5, and only files that hold what is expected and nothing that leads elsewhere.

HDF5 follows links, external storage and virtual datasets into any file of the machine, and allocates what a shape asks
for. So a file is opened through a function that reads bytes of the one file at hand, and every dataset is looked at
before a number of it is read: a hard link, in the root group, with the type, shape, chunks and place on disk that are
expected, unfiltered.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import h5py
import numpy as np
from jaxtyping import Int64, Shaped


class DamagedH5Error(Exception):
    """An HDF5 file that cannot be read, or holds something else than what is expected."""


class ExpectedDataset(NamedTuple):
    """What a dataset must be."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    chunks: tuple[int, ...] | None


Expected = dict[str, ExpectedDataset]


@contextmanager
def open_h5(pread: Callable[[int, int], bytes], size: int, expected: Expected) -> Iterator[dict[str, h5py.Dataset]]:
    """The datasets of a file of ``size`` bytes, each proven to be what is expected.

    Raises:
        DamagedH5Error: anything is different, here or while the datasets are being read.
    """
    try:
        with h5py.File(_Bytes(pread, size), "r") as file:
            yield _datasets(file, expected, size)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise DamagedH5Error(f"no readable HDF5 file ({type(error).__name__}: {error})") from error


def row_offsets(dataset: h5py.Dataset, size: int) -> Int64[np.ndarray, " rows"]:
    """Where in the file every chunk of one row begins, -1 where there is none; DamagedH5Error if one lies outside."""
    rows = dataset.shape[0]
    row_bytes = dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=np.int64))
    offsets = np.full(rows, -1, np.int64)
    for number in range(dataset.id.get_num_chunks()):
        chunk = dataset.id.get_chunk_info(number)
        row = chunk.chunk_offset[0]
        if chunk.byte_offset is None:
            continue
        if chunk.filter_mask or chunk.size != row_bytes or not 0 <= chunk.byte_offset <= size - row_bytes:
            raise DamagedH5Error(f"row {row} lies outside the file")
        offsets[row] = chunk.byte_offset
    return offsets


def read_dataset(dataset: h5py.Dataset) -> Shaped[np.ndarray, "..."]:
    """All numbers of a proven dataset."""
    values: Shaped[np.ndarray, ...] = dataset[()]
    return values


def _datasets(file: h5py.File, expected: Expected, size: int) -> dict[str, h5py.Dataset]:
    names = [name.decode() for name in file.id]
    if sorted(names) != sorted(expected):
        raise DamagedH5Error(f"it holds {sorted(names)}, expected {sorted(expected)}")
    return {name: _dataset(file, name, expected[name], size) for name in names}


def _dataset(file: h5py.File, name: str, expected: ExpectedDataset, size: int) -> h5py.Dataset:
    link = file.id.links.get_info(name.encode())
    if link.type != h5py.h5l.TYPE_HARD:
        raise DamagedH5Error(f"{name} is a link to something else")
    found = h5py.h5o.open(file.id, name.encode())
    if not isinstance(found, h5py.h5d.DatasetID):
        raise DamagedH5Error(f"{name} is no dataset")
    properties = found.get_create_plist()
    layout = h5py.h5d.CHUNKED if expected.chunks else h5py.h5d.CONTIGUOUS
    if properties.get_layout() != layout or properties.get_external_count() or properties.get_nfilters():
        raise DamagedH5Error(f"{name} is virtual, external, filtered or laid out in another way")
    dataset: Any = h5py.Dataset(found)
    said = ExpectedDataset(dataset.shape, dataset.dtype, dataset.chunks)
    if said != expected:
        raise DamagedH5Error(f"{name} is {said}, expected {expected}")
    if found.get_storage_size() != dataset.nbytes or dataset.nbytes > size:
        raise DamagedH5Error(f"{name} has {found.get_storage_size()} bytes in the file, expected {dataset.nbytes}")
    return dataset


class _Bytes(io.RawIOBase):
    """A file of bytes that are asked for by offset."""

    def __init__(self, pread: Callable[[int, int], bytes], size: int) -> None:
        self._pread, self._size, self._at = pread, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._pread(self._at, len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
