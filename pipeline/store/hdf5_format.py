"""HDF5: one file a part, which h5py and every other HDF5 reader opens.

    <part>.h5/rows     (rows, *stored shape), one row a chunk, no filter, all chunks one after another
    <part>.h5/crc32c   (rows,) uint32, the crc32c of every row

A part is built in memory and committed as bytes, because HDF5 written in place loses what it holds when the process is
killed and brings the process down when the disk is full. Chunks are allocated early, so their places are plain
arithmetic and a row is one ``preadv``; bfloat16 is stored as uint16, as in Zarr.
"""

import json
import os
import secrets
from collections.abc import Buffer
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Int64, Shaped, UInt32

from ..errors import StoreError
from .format import ArrayMeta, DamageError, Pread, own_attributes, parse_attributes, row_bytes, row_checksums
from .layout import PART_NAME, part_name
from .safe_h5 import DamagedH5Error, Expected, ExpectedDataset, open_h5, read_dataset, row_offsets

_META_BYTES = 4096  # so that rows begin a little behind a page: copies from further behind take a tenth longer
_KIND = "visual_thought feature array in HDF5"
_TYPES = {"bf16": ("<u2", 0x7FC0, "bfloat16"), "fp32": ("<f4", float("nan"), "float32"), "int8": ("i1", -1, "float32")}


class Hdf5Format:
    """One HDF5 file a part, rows unfiltered, their checksums beside them."""

    name = "hdf5"
    suffix = ".h5"
    metadata_name = "array.json"
    row_tail_bytes = 0

    def refuse(self, meta: ArrayMeta) -> None:
        """StoreError for a compressed tier: plain h5py lacks the codec."""
        if meta.codec != "none":
            raise StoreError(
                f"HDF5 cannot hold rows compressed with {meta.codec}",
                found="hdf5",
                expected="zarr, or no codec",
                remedy="plain h5py has no such filter: choose --format zarr or --codec none",
            )

    def describe(self, meta: ArrayMeta) -> bytes:
        """The text of ``array.json``: sorted keys, two spaces, a final newline."""
        said = {"kind": _KIND, "rows": meta.rows, "part_rows": meta.part_rows} | {
            "dtype": _TYPES[meta.spec.tier][0],
            "logical_dtype": _TYPES[meta.spec.tier][2],
            "visual_thought": own_attributes(meta),
        }
        return (json.dumps(said, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()

    def parse(self, text: bytes) -> ArrayMeta:
        """What an ``array.json`` says; DamageError if it is not exactly what :meth:`describe` writes."""
        try:
            said = json.loads(text)
            meta = parse_attributes(said["visual_thought"], said["rows"], said["part_rows"])
            intact = meta.is_possible() and meta.codec == "none" and self.describe(meta) == text
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError) as error:
            raise DamageError(f"not the metadata of a feature array ({type(error).__name__})") from error
        if not intact:
            raise DamageError("the metadata was changed after it was written")
        return meta

    def part_file(self, meta: ArrayMeta, part: int) -> str:  # noqa: ARG002 - other formats need the shape
        """``<part>.h5``."""
        return part_name(part) + ".h5"

    def part_number(self, name: str) -> int | None:
        """The part of ``<part>.h5``."""
        stem = name.removesuffix(".h5")
        return int(stem) if stem != name and PART_NAME.fullmatch(stem) else None

    def encode(self, meta: ArrayMeta, values: Shaped[np.ndarray, " rows *stored"]) -> bytes:
        """The bytes of one file."""
        whole = np.ascontiguousarray(values)
        return b"".join(self.pieces(meta, whole, row_checksums(row_bytes(whole))))

    def pieces(
        self, meta: ArrayMeta, values: Shaped[np.ndarray, " rows *stored"], crcs: UInt32[np.ndarray, " rows"]
    ) -> list[Buffer]:
        """What HDF5 makes of such a part, with the rows and their checksums put in their places."""
        rows: list[Buffer] = [*row_bytes(values), crcs.astype("<u4").view(np.uint8)]
        return [rows[piece] if isinstance(piece, int) else piece for piece in _frame(meta, len(values))]

    def decode(
        self, meta: ArrayMeta, rows: int, data: bytes
    ) -> tuple[Shaped[np.ndarray, " rows *stored"], UInt32[np.ndarray, " rows"]]:
        """The values of one file and the crc32c of every row; DamageError if a row is absent or damaged."""
        try:
            with open_h5(lambda at, n: data[at : at + n], len(data), _expected(meta, rows)) as datasets:
                values = read_dataset(datasets["rows"]).astype(meta.dtype, copy=False)
                stored = read_dataset(datasets["crc32c"]).astype(np.uint32)
        except DamagedH5Error as error:
            raise DamageError(str(error)) from error
        crcs = row_checksums(row_bytes(np.ascontiguousarray(values)))
        if (crcs != stored).any():
            raise DamageError(f"row {int((crcs != stored).argmax())} of the part fails its checksum")
        return values, crcs

    def row_spans(self, meta: ArrayMeta, rows: int, size: int, pread: Pread) -> Int64[np.ndarray, "rows 2"]:
        """Where each row begins and how long it is, from the file's chunk index."""
        try:
            with open_h5(pread, size, _expected(meta, rows)) as datasets:
                offsets = row_offsets(datasets["rows"], size)
        except DamagedH5Error as error:
            raise DamageError(str(error)) from error
        return np.stack([offsets, np.where(offsets < 0, 0, meta.spec.row_bytes)], axis=1)

    def read_rows(
        self, meta: ArrayMeta, folder: Path, part: int, rows: Int64[np.ndarray, " n"]
    ) -> Shaped[np.ndarray, " n *stored"]:
        """Rows of one file through h5py."""
        values = np.empty((len(rows), *meta.spec.stored_shape), meta.dtype)
        expected = _expected(meta, len(meta.part_range(part)))
        try:
            with (folder / self.part_file(meta, part)).open("rb") as file:
                pread, size = (lambda at, n: os.pread(file.fileno(), n, at)), os.fstat(file.fileno()).st_size
                with open_h5(pread, size, expected) as datasets:
                    for place, row in enumerate(rows.tolist()):
                        datasets["rows"].read_direct(values, np.s_[row], np.s_[place])
        except (DamagedH5Error, OSError) as error:
            raise DamageError(f"h5py cannot read it: {error}") from error
        return values


FORMAT = Hdf5Format()


def _expected(meta: ArrayMeta, rows: int) -> Expected:
    shape, dtype = (rows, *meta.spec.stored_shape), np.dtype(_TYPES[meta.spec.tier][0])
    return {
        "rows": ExpectedDataset(shape, dtype, (1, *shape[1:])),
        "crc32c": ExpectedDataset((rows,), np.dtype("<u4"), None),
    }


@lru_cache(maxsize=8)
def _frame(meta: ArrayMeta, rows: int) -> list[bytes | int]:
    """A file without its numbers: bytes between them, and in their places the number of the row, -1 for checksums.

    HDF5 allocates all chunks when a dataset is made and never touches them again, so that only the numbers differ
    between the files of an array. It wants a name of its own for every file in memory.
    """
    shape, dtype = (rows, *meta.spec.stored_shape), np.dtype(_TYPES[meta.spec.tier][0])
    with h5py.File(
        secrets.token_hex(8),
        "w",
        driver="core",
        backing_store=False,
        libver=("v110", "v110"),
        track_order=False,
        meta_block_size=_META_BYTES,
    ) as file:
        crcs = _create(file, "crc32c", (rows,), np.dtype("<u4"))
        crcs[...] = 0
        values = _create(file, "rows", shape, dtype, meta)
        file.flush()
        image: bytes = file.id.get_file_image()
        offsets, crc_offset = row_offsets(values, len(image)).tolist(), crcs.id.get_offset()
    found: list[bytes | int] = []
    end = 0
    for place, number in sorted([*zip(offsets, range(rows), strict=True), (crc_offset, -1)]):
        found += [image[end:place], number] if end < place else [number]
        end = place + (4 * rows if number < 0 else meta.spec.row_bytes)
    return [*found, image[end:]]


def _create(
    file: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[np.generic], meta: ArrayMeta | None = None
) -> Any:
    """One dataset without time stamps; with ``meta``, one row a chunk, allocated at once, in order."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_obj_track_times(False)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    if meta is not None:
        properties.set_chunk((1, *shape[1:]))
        properties.set_fill_value(np.array(_TYPES[meta.spec.tier][1], dtype))
    kind, space = h5py.h5t.py_create(dtype), h5py.h5s.create_simple(shape)
    dataset = h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, properties))
    if meta is not None:
        dataset.attrs["logical_dtype"] = _TYPES[meta.spec.tier][2]
        dataset.attrs["feature"], dataset.attrs["index"] = meta.spec.key, meta.index_id
    return dataset
