"""What a storage format must be able to do, and the literal table of formats.

A format turns one part (a few rows of one array) into the bytes of one file and says where in such a file every row
lies, so that rows can be read with ``preadv`` and nothing else. It never opens, writes or names anything outside the
array's own folder. A new format is one module and one line in :data:`FORMATS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64, Shaped, UInt32

from ..errors import StoreError
from ..spec import FeatureSpec
from .layout import FEATURE_NAME, MAX_PART_ROWS, MAX_PARTS, PART_ROWS, part_count, part_range

FORMATS = {"zarr": "zarr_format:FORMAT"}
SUFFIXES = {".zarr": "zarr"}

TIERS: dict[str, type[np.generic]] = {"bf16": np.uint16, "fp32": np.float32}
"""What numbers of a tier are stored as: bf16 as uint16 bit patterns."""

MAX_ROW_BYTES = 1 << 29
MAX_ROW_AXES = 4

Pread = Callable[[int, int], bytes]
"""``pread(offset, size)``: that many bytes of a part's file, fewer at its end."""


class DamageError(Exception):
    """The bytes of a part or of an array's metadata cannot be what was written; becomes a StoreCorrupt with a path."""


@dataclass(frozen=True)
class ArrayMeta:
    """What an array's metadata says: which feature, of which index, how many rows, how many of them a part."""

    spec: FeatureSpec
    index_id: str
    rows: int
    part_rows: int = PART_ROWS

    @property
    def parts(self) -> int:
        """How many parts the array has when it is complete."""
        return part_count(self.rows, self.part_rows)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The stored type: uint16 holding bfloat16 bits, or float32."""
        return stored_dtype(self.spec)

    def part_range(self, part: int) -> range:
        """The rows of the array that lie in one part."""
        return part_range(part, self.rows, self.part_rows)

    def is_possible(self) -> bool:
        """Whether it keeps the bounds of every array; asked before anything is allocated on a file's word."""
        spec, sizes = self.spec, (self.rows, self.part_rows, *self.spec.shape)
        return (
            all(type(size) is int and size >= 1 for size in sizes)
            and self.part_rows <= MAX_PART_ROWS
            and self.parts <= MAX_PARTS
            and 1 <= len(spec.shape) <= MAX_ROW_AXES
            and spec.tier in TIERS
            and spec.row_bytes <= MAX_ROW_BYTES
            and spec.per in ("frame", "query")
            and FEATURE_NAME.fullmatch(spec.name) is not None
        )


@runtime_checkable
class StoreFormat(Protocol):
    """One way to lay rows out in files. Implementations hold no state."""

    name: str
    suffix: str
    metadata_name: str
    row_tail_bytes: int
    """Bytes of the row's little-endian crc32c that follow it in the file (4), or 0 if it stands elsewhere."""

    def describe(self, meta: ArrayMeta) -> bytes:
        """The metadata file of an array; the same bytes on every machine."""

    def parse(self, text: bytes) -> ArrayMeta:
        """What :meth:`describe` wrote; DamageError if the text is not exactly what it would write."""

    def part_file(self, meta: ArrayMeta, part: int) -> str:
        """The name of a part's file in the array's folder."""

    def encode(self, meta: ArrayMeta, values: Shaped[np.ndarray, "rows *shape"]) -> bytes:
        """The bytes of a part's file."""

    def decode(
        self, meta: ArrayMeta, rows: int, data: bytes
    ) -> tuple[Shaped[np.ndarray, "rows *shape"], UInt32[np.ndarray, " rows"]]:
        """The values of a part and the crc32c of every row, all checks made; DamageError if one fails."""

    def row_offsets(self, meta: ArrayMeta, rows: int, size: int, pread: Pread) -> Int64[np.ndarray, " rows"]:
        """Where each row begins in a file of ``size`` bytes, -1 where the file lacks it; DamageError if unreadable."""


def load_format(name: str) -> StoreFormat:
    """The format of that name; StoreError listing the known ones if there is none."""
    if name not in FORMATS:
        raise StoreError(f"no store format is called {name!r}", expected=sorted(FORMATS))
    module, attribute = FORMATS[name].split(":")
    found: StoreFormat = getattr(import_module(f".{module}", __package__), attribute)
    return found


def stored_dtype(spec: FeatureSpec) -> np.dtype[np.generic]:
    """The type a feature's numbers are stored as."""
    return np.dtype(TIERS[spec.tier])


def count_not_finite(values: Shaped[np.ndarray, "..."]) -> tuple[int, int]:
    """How many numbers are NaN and how many infinite, in bfloat16 bits (uint16) or float32."""
    bits = values if values.dtype == np.uint16 else values.view(np.uint32)
    number, infinity = (0x7FFF, 0x7F80) if bits.dtype == np.uint16 else (0x7FFFFFFF, 0x7F800000)
    size = bits & bits.dtype.type(number)  # the sign does not matter
    return int(np.count_nonzero(size > infinity)), int(np.count_nonzero(size == infinity))
