"""Zarr v3 arrays that any Zarr reader opens, written and read without one.

One array a feature: shards of 128 rows with one row a chunk, so that a row is one contiguous run of bytes.

    c.<part>.0.0 = row 0, crc32c(row 0), row 1, crc32c(row 1), …, index, crc32c(index)

A lossless codec makes rows shorter and the checksum is then of the compressed row; nothing else changes.

``index`` holds 128 pairs (offset, bytes) of little-endian uint64, 2^64 - 1 twice for a row the part does not have
(Zarr v3, sharding codec 1.0; crc32c codec 1.0). bfloat16 is stored as uint16, since Zarr has no such type; the fill
value is a NaN in either type, so that even a careless reader never mistakes what is missing for a number.
"""

import json
import re
from collections.abc import Buffer
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped, UInt8, UInt32

from .codecs import compress, decompress, zarr_codec
from .crc import CRC_BYTES, crc32c
from .format import ArrayMeta, DamageError, Pread, own_attributes, parse_attributes, row_bytes, row_checksums

_ABSENT = np.uint64(2**64 - 1)
_PART_FILE = re.compile(r"c\.(0|[1-9][0-9]{0,5})(?:\.0)+")
_TIERS: dict[str, tuple[str, int | str, str]] = {
    "bf16": ("uint16", 0x7FC0, "bfloat16"),
    "fp32": ("float32", "NaN", "float32"),
    "int8": ("int8", -1, "float32"),  # -1 in every byte of a token's scale is a NaN
}


class ZarrFormat:
    """Sharded Zarr v3 with a crc32c behind every row."""

    name = "zarr"
    suffix = ".zarr"
    metadata_name = "zarr.json"
    row_tail_bytes = CRC_BYTES

    def refuse(self, meta: ArrayMeta) -> None:
        """Nothing: Zarr holds every tier and codec."""

    def describe(self, meta: ArrayMeta) -> bytes:
        """The text of ``zarr.json``: sorted keys, two spaces, a final newline."""
        text = json.dumps(_document(meta), sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False)
        return (text + "\n").encode()

    def parse(self, text: bytes) -> ArrayMeta:
        """What a ``zarr.json`` of ours says; DamageError if it is not exactly what :meth:`describe` writes."""
        try:
            document = json.loads(text)
            rows, part_rows = document["shape"][0], document["chunk_grid"]["configuration"]["chunk_shape"][0]
            meta = parse_attributes(document["attributes"]["visual_thought"], rows, part_rows)
            intact = meta.is_possible() and self.describe(meta) == text
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError) as error:
            raise DamageError(f"not the metadata of a feature array ({type(error).__name__})") from error
        if not intact:
            raise DamageError("the metadata was changed after it was written")
        return meta

    def part_file(self, meta: ArrayMeta, part: int) -> str:
        """``c.<part>.0.0``: the default chunk key with separator "."."""
        return ".".join(["c", str(part), *("0" for _ in meta.spec.shape)])

    def part_number(self, name: str) -> int | None:
        """The part of ``c.<part>.0.0``, of any number of axes."""
        match = _PART_FILE.fullmatch(name)
        return int(match.group(1)) if match else None

    def encode(self, meta: ArrayMeta, values: Shaped[np.ndarray, " rows *stored"]) -> bytes:
        """The bytes of one shard."""
        whole = np.ascontiguousarray(values)
        return b"".join(self.pieces(meta, whole, row_checksums(row_bytes(whole))))

    def pieces(
        self, meta: ArrayMeta, values: Shaped[np.ndarray, " rows *stored"], crcs: UInt32[np.ndarray, " rows"]
    ) -> list[Buffer]:
        """Row and checksum in turns, the index, its checksum."""
        rows: list[Buffer] = list(row_bytes(values))
        if meta.codec != "none":
            rows = [compress(row, meta.spec) for row in row_bytes(values)]
            crcs = np.array([crc32c(row) for row in rows], np.uint32)
        lengths = np.array([len(memoryview(row)) + CRC_BYTES for row in rows])
        index = np.full((meta.part_rows, 2), _ABSENT, "<u8")
        index[: len(rows), 0] = np.cumsum(lengths) - lengths
        index[: len(rows), 1] = lengths
        checks = [crc.tobytes() for crc in crcs.astype("<u4")]
        body = [piece for pair in zip(rows, checks, strict=True) for piece in pair]
        return [*body, index.tobytes(), crc32c(index.tobytes()).to_bytes(CRC_BYTES, "little")]

    def decode(
        self, meta: ArrayMeta, rows: int, data: bytes
    ) -> tuple[Shaped[np.ndarray, " rows *stored"], UInt32[np.ndarray, " rows"]]:
        """The values of one shard and the crc32c of every row; DamageError if a row is absent or damaged."""
        spans = self.row_spans(meta, rows, len(data), lambda offset, size: data[offset : offset + size])
        values, view = np.empty((rows, meta.spec.row_bytes), np.uint8), np.frombuffer(data, np.uint8)
        for row, (offset, size) in enumerate(spans.tolist()):
            if offset < 0:
                raise DamageError(f"row {row} of the part is absent")
            stored, tail = view[offset : offset + size], view[offset + size : offset + size + CRC_BYTES]
            if crc32c(stored) != int.from_bytes(tail.tobytes(), "little"):
                raise DamageError(f"row {row} of the part fails its checksum")
            _unpack(meta, row, stored, values[row])
        return values.view(meta.dtype).reshape(rows, *meta.spec.stored_shape), row_checksums(values)

    def row_spans(self, meta: ArrayMeta, rows: int, size: int, pread: Pread) -> Int64[np.ndarray, "rows 2"]:
        """Where each row begins and how long it is, from the shard's index; (-1, 0) where it says there is none."""
        length = 16 * meta.part_rows + CRC_BYTES
        tail = pread(size - length, length) if size >= length else b""
        if len(tail) != length:
            raise DamageError(f"{size} bytes are too few for a shard of {meta.part_rows} rows")
        if crc32c(tail[:-CRC_BYTES]) != int.from_bytes(tail[-CRC_BYTES:], "little"):
            raise DamageError("the shard's index fails its checksum")
        index = np.frombuffer(tail, "<u8", 2 * meta.part_rows).reshape(-1, 2)[:rows]
        absent, room = (index == _ABSENT).all(axis=1), np.uint64(size - length)
        plain = meta.spec.row_bytes + CRC_BYTES
        fits = index[:, 1] == plain if meta.codec == "none" else (index[:, 1] > CRC_BYTES) & (index[:, 1] <= 2 * plain)
        fits &= (index[:, 1] <= room) & (index[:, 0] <= room - np.minimum(index[:, 1], room))
        if not (absent | fits).all():
            raise DamageError(f"row {int((~(absent | fits)).argmax())} of the part lies outside the shard")
        if _overlap(index[~absent]):
            raise DamageError("two rows of the part share bytes")
        spans = index.astype(np.int64) - np.array([0, CRC_BYTES])
        spans[absent] = (-1, 0)
        return spans

    def read_rows(
        self, meta: ArrayMeta, folder: Path, part: int, rows: Int64[np.ndarray, " n"]
    ) -> Shaped[np.ndarray, " n *stored"]:
        """Rows of one shard through zarr-python, which must not fill in what is missing."""
        import zarr

        try:
            with zarr.config.set({"array.read_missing_chunks": False}):
                array = zarr.open_array(folder, mode="r", zarr_format=3)
                found: Shaped[np.ndarray, " n *stored"] = array.oindex[rows + part * meta.part_rows]
        except Exception as error:  # zarr raises bare RuntimeError, ValueError and its own for damage
            raise DamageError(f"zarr-python cannot read it ({type(error).__name__}: {error})") from error
        return found


FORMAT = ZarrFormat()


def _document(meta: ArrayMeta) -> dict[str, Any]:
    dtype, fill, logical = _TIERS[meta.spec.tier]
    shape = list(meta.spec.stored_shape)
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    crc: dict[str, Any] = {"name": "crc32c"}
    sharding = {
        "chunk_shape": [1, *shape],
        "codecs": [little, *([] if meta.codec == "none" else [zarr_codec(meta.spec)]), crc],
        "index_codecs": [little, crc],
        "index_location": "end",
    }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [meta.rows, *shape],
        "data_type": dtype,
        "fill_value": fill,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [meta.part_rows, *shape]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "storage_transformers": [],
        "attributes": {"logical_dtype": logical, "visual_thought": own_attributes(meta)},
    }


def _overlap(index: Shaped[np.ndarray, "rows 2"]) -> bool:
    """Whether any two (offset, bytes) share a byte: rows that do could claim far more numbers than the file has."""
    ordered = index[np.argsort(index[:, 0])]
    return bool((ordered[:-1].sum(axis=1) > ordered[1:, 0]).any())


def _unpack(
    meta: ArrayMeta, row: int, stored: UInt8[np.ndarray, " bytes"], out: UInt8[np.ndarray, " row_bytes"]
) -> None:
    if meta.codec == "none":
        out[:] = stored
        return
    try:
        decompress(stored.tobytes(), out)
    except ValueError as error:
        raise DamageError(f"row {row} of the part cannot be unpacked: {error}") from error
