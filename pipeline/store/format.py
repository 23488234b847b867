"""What a storage format must be able to do, and the literal table of formats.

A format turns one part (a few rows of one array) into the bytes of one file and says where in such a file every row
lies, so that rows can be read with ``preadv`` and nothing else. It never opens, writes or names anything outside the
array's own folder. A new format is one module and one line in :data:`FORMATS`.
"""

from collections.abc import Buffer, Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64, Shaped, UInt8, UInt32

from ..errors import StoreError
from ..spec import FeatureSpec, sha256_json
from .codecs import CODECS
from .crc import crc32c
from .int8 import ChannelScale
from .layout import FEATURE_NAME, MAX_PART_ROWS, MAX_PARTS, PART_ROWS, SCHEMA, part_count, part_range
from .metadata import check_attributes

FORMATS = {"zarr": "zarr_format:FORMAT", "hdf5": "hdf5_format:FORMAT"}
SUFFIXES = {".zarr": "zarr", ".h5": "hdf5"}

TIERS: dict[str, type[np.generic]] = {"bf16": np.uint16, "fp32": np.float32, "int8": np.int8}
"""What numbers of a tier are stored as: bf16 as uint16 bit patterns, int8 with a scale behind every token."""

MAX_ROW_BYTES = 1 << 29
MAX_ROW_AXES = 4
MAX_PART_NUMBERS = 1 << 32
"""Bytes of the rows of one part, uncompressed: what whoever decodes a part allocates."""

_FILE_BYTES = 1 << 16
_COUNTED = 1 << 17

Pread = Callable[[int, int], bytes]
"""``pread(offset, size)``: that many bytes of a part's file, fewer at its end."""


class DamageError(Exception):
    """The bytes of a part or of an array's metadata cannot be what was written; becomes a StoreCorrupt with a path."""


@dataclass(frozen=True)
class ArrayMeta:
    """What an array's metadata says.

    Args:
        spec: the feature.
        index_id: whose rows.
        rows: how many.
        part_rows: how many of them a part; the last part may have fewer.
        codec: the lossless compression of a row, a name in :data:`~.codecs.CODECS`.
        channel_scale: what ``int8`` numbers are multiplied with; None in every other tier.
    """

    spec: FeatureSpec
    index_id: str
    rows: int
    part_rows: int = PART_ROWS
    codec: str = "none"
    channel_scale: ChannelScale | None = None

    @property
    def parts(self) -> int:
        """How many parts the array has when it is complete."""
        return part_count(self.rows, self.part_rows)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The stored type: uint16 holding bfloat16 bits, float32, or int8."""
        return stored_dtype(self.spec)

    def part_range(self, part: int) -> range:
        """The rows of the array that lie in one part."""
        return part_range(part, self.rows, self.part_rows)

    def most_bytes(self, rows: int) -> int:
        """No file of so many rows is larger, in any format or codec: what a receipt's word is held against."""
        return 2 * rows * (self.spec.row_bytes + 16) + 16 * self.part_rows + _FILE_BYTES

    def is_possible(self) -> bool:
        """Whether it keeps the bounds of every array; asked before anything is allocated on a file's word."""
        spec, sizes = self.spec, (self.rows, self.part_rows, *self.spec.shape)
        return (
            all(type(size) is int and size >= 1 for size in sizes)
            and self.part_rows <= MAX_PART_ROWS
            and self.parts <= MAX_PARTS
            and 1 <= len(spec.shape) <= MAX_ROW_AXES
            and spec.tier in TIERS
            and self.codec in CODECS
            and (self.channel_scale is None) == (spec.tier != "int8")
            and (self.channel_scale is None or self.channel_scale.fits(spec.shape[-1]))
            and spec.row_bytes <= MAX_ROW_BYTES
            and spec.row_bytes * min(self.rows, self.part_rows) <= MAX_PART_NUMBERS
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

    def refuse(self, meta: ArrayMeta) -> None:
        """StoreError if this format cannot hold such an array."""

    def describe(self, meta: ArrayMeta) -> bytes:
        """The metadata file of an array; the same bytes on every machine."""

    def parse(self, text: bytes) -> ArrayMeta:
        """What :meth:`describe` wrote; DamageError if the text is not exactly what it would write."""

    def part_file(self, meta: ArrayMeta, part: int) -> str:
        """The name of a part's file in the array's folder."""

    def part_number(self, name: str) -> int | None:
        """Which part a file of that name holds, whatever the array's shape; None if it is no part's name."""

    def encode(self, meta: ArrayMeta, values: Shaped[np.ndarray, " rows *stored"]) -> bytes:
        """The bytes of a part's file."""

    def pieces(
        self, meta: ArrayMeta, values: Shaped[np.ndarray, " rows *stored"], crcs: UInt32[np.ndarray, " rows"]
    ) -> list[Buffer]:
        """The same bytes in pieces that need not be joined, most of them the rows as they are.

        ``values`` are C-contiguous, ``crcs`` their :func:`row_checksums`.
        """

    def decode(
        self, meta: ArrayMeta, rows: int, data: bytes
    ) -> tuple[Shaped[np.ndarray, " rows *stored"], UInt32[np.ndarray, " rows"]]:
        """The values of a part and the crc32c of every row, all checks made; DamageError if one fails."""

    def row_spans(self, meta: ArrayMeta, rows: int, size: int, pread: Pread) -> Int64[np.ndarray, "rows 2"]:
        """Where each row begins in a file of ``size`` bytes and how many bytes it has there, its checksum not counted.

        (-1, 0) where the file lacks the row; DamageError if the file cannot be read. Uncompressed rows have
        ``meta.spec.row_bytes`` bytes.
        """

    def read_rows(
        self, meta: ArrayMeta, folder: Path, part: int, rows: Int64[np.ndarray, " n"]
    ) -> Shaped[np.ndarray, " n *stored"]:
        """Rows of one part (ascending, counted from its first) through the format's own library.

        DamageError if the library cannot read them.
        """


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
    """How many numbers are NaN and how many infinite, in bfloat16 bits (uint16) or float32; int8 has neither."""
    if values.dtype == np.int8:
        return 0, 0
    bits = (values if values.dtype == np.uint16 else values.view(np.uint32)).reshape(-1)
    number, infinity = (0x7FFF, 0x7F80) if bits.dtype == np.uint16 else (0x7FFFFFFF, 0x7F800000)
    nan = inf = 0
    for start in range(0, len(bits), _COUNTED):  # pieces that stay in the cache
        size = bits[start : start + _COUNTED] & bits.dtype.type(number)  # the sign does not matter
        if size.max() >= infinity:
            nan += int(np.count_nonzero(size > infinity))
            inf += int(np.count_nonzero(size == infinity))
    return nan, inf


def row_checksums(rows: UInt8[np.ndarray, "rows bytes"]) -> UInt32[np.ndarray, " rows"]:
    """The crc32c of every row's bytes."""
    return np.fromiter((crc32c(row) for row in rows), np.uint32, len(rows))


def row_bytes(values: Shaped[np.ndarray, " rows *stored"]) -> UInt8[np.ndarray, "rows bytes"]:
    """C-contiguous rows as bytes; shares their memory."""
    return values.reshape(len(values), -1).view(np.uint8)


def own_attributes(meta: ArrayMeta) -> dict[str, Any]:
    """What an array's metadata says in our own words, in every format; ``checksum`` is over all of it."""
    said: dict[str, Any] = {"schema": SCHEMA, "index": meta.index_id, "feature": meta.spec.to_json()}
    hashed: list[Any] = [SCHEMA, meta.index_id, meta.rows, meta.part_rows, meta.spec.to_json()]
    if meta.codec != "none":
        said["codec"] = meta.codec
        hashed.append(meta.codec)
    if meta.channel_scale is not None:
        said["channel_scale"] = asdict(meta.channel_scale)
        hashed.append(said["channel_scale"])
    return said | {"fingerprint": meta.spec.fingerprint, "checksum": sha256_json(hashed)}


def parse_attributes(said: Mapping[str, Any], rows: int, part_rows: int) -> ArrayMeta:
    """What :func:`own_attributes` said; any wrong type or size is a TypeError, KeyError or ValueError."""
    check_attributes(said)
    scale = said.get("channel_scale")
    if scale is not None:
        scale = ChannelScale(**dict(scale) | {"values": tuple(scale["values"])})
    spec = FeatureSpec.from_json(said["feature"])
    return ArrayMeta(spec, said["index"], rows, part_rows, said.get("codec", "none"), scale)
