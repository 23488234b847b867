"""Who reads: plain .npy as the yardstick, our store in both formats, zarr-python and h5py on the very same files."""

import os
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
from jaxtyping import Int

from ...pipeline.store import FeatureStore
from ...pipeline.store.row_check import Verify
from .features import Batch, Features

type Read = Callable[[Int[np.ndarray, " b"]], Batch]
"""Rows -> their numbers; into buffers that are there already wherever a library can do that."""

TAKE, PREADV = "npy np.take(memmap)", "npy os.preadv"


def npy_take(features: Features, batch: int, stack: ExitStack) -> Read:
    """``np.take(memmap, rows, out=, mode="clip")``, the fastest plain way."""
    del stack
    out, files = features.buffers(batch), {name: np.load(features.npy(name), mmap_mode="r") for name in features.values}

    def read(rows: Int[np.ndarray, " b"]) -> Batch:
        for name, file in files.items():
            np.take(file, rows, axis=0, out=out[name], mode="clip")
        return out

    return read


def npy_preadv(features: Features, batch: int, stack: ExitStack) -> Read:
    """One ``os.preadv`` a row, at a place that is multiplied out."""
    out, files = features.buffers(batch), {name: os.open(features.npy(name), os.O_RDONLY) for name in features.values}
    for file in files.values():
        stack.callback(os.close, file)
    starts = {name: np.load(features.npy(name), mmap_mode="r").offset for name in files}

    def read(rows: Int[np.ndarray, " b"]) -> Batch:
        numbers = rows.tolist()
        for name, file in files.items():
            start, size = starts[name], features.values[name][0].nbytes
            for row, buffer in zip(numbers, out[name], strict=True):
                os.preadv(file, (buffer,), start + row * size)
        return out

    return read


def ours(store_format: str, verify: Verify) -> Callable[[Features, int, ExitStack], Read]:
    """Our reader over our store."""

    def prepare(features: Features, batch: int, stack: ExitStack) -> Read:
        store, out = FeatureStore.open(features.store(store_format)), features.buffers(batch)
        readers = {name: stack.enter_context(store.reader(name, verify=verify)) for name in features.values}

        def read(rows: Int[np.ndarray, " b"]) -> Batch:
            for name, reader in readers.items():
                reader.read_into(rows, out[name])
            return out

        return read

    return prepare


def zarr_python(features: Features, batch: int, stack: ExitStack) -> Read:
    """zarr-python's ``oindex`` on our arrays."""
    del stack
    import zarr

    store, out = FeatureStore.open(features.store("zarr")), features.buffers(batch)
    arrays = {array.spec.name: zarr.open_array(array.path, mode="r", zarr_format=3) for array in store.arrays()}

    def read(rows: Int[np.ndarray, " b"]) -> Batch:
        for name, array in arrays.items():
            out[name][:] = array.oindex[rows]
        return out

    return read


def h5py_rows(features: Features, batch: int, stack: ExitStack) -> Read:
    """h5py's ``read_direct``, row by row, which is its fastest way, on our files."""
    import h5py

    out, store = features.buffers(batch), FeatureStore.open(features.store("hdf5"))
    files = {
        array.spec.name: [
            stack.enter_context(h5py.File(array.part_path(part), "r"))["rows"] for part in range(array.num_parts)
        ]
        for array in store.arrays()
    }
    part_rows = {array.spec.name: array.meta.part_rows for array in store.arrays()}

    def read(rows: Int[np.ndarray, " b"]) -> Batch:
        for name, parts in files.items():
            for place, row in enumerate(rows.tolist()):
                part, offset = divmod(row, part_rows[name])
                parts[part].read_direct(out[name], np.s_[offset], np.s_[place])
        return out

    return read
