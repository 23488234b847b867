"""Reading one part whole, every check made: its receipt, its sha256, every row, its table of frames."""

import hashlib
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped

from ..errors import StoreCorrupt, StoreError
from .array import ArrayRef
from .files import read_file
from .format import DamageError
from .frames import FRAMES_SCHEMA
from .index import from_parquet
from .layout import part_name
from .places import REPAIR
from .receipt import Receipt, read_receipt


class WholePart(NamedTuple):
    """A proven part: its receipt, its rows as they are stored, and its table of frames with the bytes of its file."""

    receipt: Receipt
    values: Shaped[np.ndarray, " rows *stored"]
    frames: pa.Table | None
    frames_file: bytes | None


def read_part(array: ArrayRef, part: int) -> WholePart:
    """One finished part.

    Raises:
        StoreIncomplete: its receipt, its file or its table of frames is missing.
        StoreCorrupt: any of them is damaged, or not what the receipt describes.
    """
    receipt = read_receipt(array.layout.root, array.receipt_path(part))
    path, rows = array.part_path(part), array.meta.part_range(part)
    said = (receipt.index_id, receipt.feature, receipt.row_start, receipt.row_stop)
    if said != (array.index_id, array.key, rows.start, rows.stop):
        raise StoreCorrupt(f"the receipt of {path} is of another part", found=list(said), remedy=REPAIR)
    data = read_file(array.layout.root, path, limit=receipt.bytes)
    found = hashlib.sha256(data).hexdigest()
    if found != receipt.sha256:
        raise StoreCorrupt(
            f"part {part_name(part)} of {array.key}, {path}, is not the one its receipt describes",
            found=f"sha256 {found}",
            expected=receipt.sha256,
            remedy=REPAIR,
        )
    return WholePart(receipt, _values(array, part, receipt, data), *_frames(array, part, receipt))


def located(error: StoreError, array: ArrayRef, part: int, row: int | None = None) -> StoreError:
    """The same error, saying in which part (and row of it) the numbers are."""
    where = f"part {part_name(part)} of {array.key} (index {array.index_id})" + ("" if row is None else f", row {row}")
    return StoreError(f"{where}: {error.problem}", found=error.found, expected=error.expected, remedy=error.remedy)


def _values(array: ArrayRef, part: int, receipt: Receipt, data: bytes) -> Shaped[np.ndarray, " rows *stored"]:
    try:
        values, crcs = array.format.decode(array.meta, receipt.rows, data)
    except DamageError as error:
        raise StoreCorrupt(f"{array.part_path(part)} is damaged", found=error, remedy=REPAIR) from error
    if (crcs != receipt.row_checksums).any():
        raise StoreCorrupt(f"{array.part_path(part)} holds other rows than its receipt describes", remedy=REPAIR)
    return values


def _frames(array: ArrayRef, part: int, receipt: Receipt) -> tuple[pa.Table | None, bytes | None]:
    if receipt.frames_sha256 is None:
        return None, None
    path = array.layout.frames_file(array.index_id, array.key, part)
    data = read_file(array.layout.root, path)
    found = hashlib.sha256(data).hexdigest()
    if found != receipt.frames_sha256:
        raise StoreCorrupt(
            f"{path} is not the table its receipt names", found=found, expected=receipt.frames_sha256, remedy=REPAIR
        )
    return from_parquet(path, data, FRAMES_SCHEMA), data
