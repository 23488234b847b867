"""Zarr v3 arrays that any Zarr reader opens, written and read without one.

One array a feature: shards of 128 rows with one row a chunk, so that a row is one contiguous run of bytes.

    c.<part>.0.0 = row 0, crc32c(row 0), row 1, crc32c(row 1), …, index, crc32c(index)

``index`` holds 128 pairs (offset, bytes) of little-endian uint64, 2^64 - 1 twice for a row the part does not have
(Zarr v3, sharding codec 1.0; crc32c codec 1.0). bfloat16 is stored as uint16, since Zarr has no such type; the fill
value is a NaN in either type, so that even a careless reader never mistakes what is missing for a number.
"""

import json
from typing import Any

import google_crc32c
import numpy as np
from jaxtyping import Int64, Shaped, UInt8, UInt32

from ..spec import FeatureSpec, sha256_json
from .format import ArrayMeta, DamageError, Pread
from .layout import SCHEMA

_ABSENT = np.uint64(2**64 - 1)
_CRC = 4
_TIERS = {"bf16": ("uint16", 0x7FC0, "bfloat16"), "fp32": ("float32", "NaN", "float32")}


class ZarrFormat:
    """Sharded Zarr v3 with a crc32c behind every row."""

    name = "zarr"
    suffix = ".zarr"
    metadata_name = "zarr.json"
    row_tail_bytes = _CRC

    def describe(self, meta: ArrayMeta) -> bytes:
        """The text of ``zarr.json``: sorted keys, two spaces, a final newline."""
        text = json.dumps(_document(meta), sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False)
        return (text + "\n").encode()

    def parse(self, text: bytes) -> ArrayMeta:
        """What a ``zarr.json`` of ours says; DamageError if it is not exactly what :meth:`describe` writes."""
        try:
            document = json.loads(text)
            own = document["attributes"]["visual_thought"]
            rows, part_rows = document["shape"][0], document["chunk_grid"]["configuration"]["chunk_shape"][0]
            meta = ArrayMeta(FeatureSpec.from_json(own["feature"]), own["index"], rows, part_rows)
            intact = meta.is_possible() and self.describe(meta) == text
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError) as error:
            raise DamageError(f"not the metadata of a feature array ({type(error).__name__})") from error
        if not intact:
            raise DamageError("the metadata was changed after it was written")
        return meta

    def part_file(self, meta: ArrayMeta, part: int) -> str:
        """``c.<part>.0.0``: the default chunk key with separator "."."""
        return ".".join(["c", str(part), *("0" for _ in meta.spec.shape)])

    def encode(self, meta: ArrayMeta, values: Shaped[np.ndarray, "rows *shape"]) -> bytes:
        """The bytes of one shard."""
        rows, row_bytes = len(values), meta.spec.row_bytes
        body = np.empty((rows, row_bytes + _CRC), np.uint8)
        body[:, :row_bytes] = np.ascontiguousarray(values).view(np.uint8).reshape(rows, row_bytes)
        body[:, row_bytes:] = _crcs(body[:, :row_bytes]).astype("<u4").view(np.uint8).reshape(rows, _CRC)
        index = np.full((meta.part_rows, 2), _ABSENT, "<u8")
        index[:rows, 0] = np.arange(rows) * (row_bytes + _CRC)
        index[:rows, 1] = row_bytes + _CRC
        tail = index.tobytes()
        return b"".join([body.data, tail, google_crc32c.value(tail).to_bytes(_CRC, "little")])

    def decode(
        self, meta: ArrayMeta, rows: int, data: bytes
    ) -> tuple[Shaped[np.ndarray, "rows *shape"], UInt32[np.ndarray, " rows"]]:
        """The values of one shard and the crc32c of every row; DamageError if a row is absent or damaged."""
        offsets = self.row_offsets(meta, rows, len(data), lambda offset, size: data[offset : offset + size])
        if (offsets < 0).any():
            raise DamageError(f"row {int((offsets < 0).argmax())} of the part is absent")
        row_bytes, buffer = meta.spec.row_bytes, np.frombuffer(data, np.uint8)
        values = np.stack([buffer[offset : offset + row_bytes] for offset in offsets])
        tails = np.stack([buffer[offset + row_bytes : offset + row_bytes + _CRC] for offset in offsets])
        crcs, stored = _crcs(values), tails.view("<u4")[:, 0]
        if (crcs != stored).any():
            raise DamageError(f"row {int((crcs != stored).argmax())} of the part fails its checksum")
        return values.view(meta.dtype).reshape(rows, *meta.spec.shape), crcs

    def row_offsets(self, meta: ArrayMeta, rows: int, size: int, pread: Pread) -> Int64[np.ndarray, " rows"]:
        """Where each row begins, from the shard's index; -1 where the index says there is none."""
        length = 16 * meta.part_rows + _CRC
        tail = pread(size - length, length) if size >= length else b""
        if len(tail) != length:
            raise DamageError(f"{size} bytes are too few for a shard of {meta.part_rows} rows")
        if google_crc32c.value(tail[:-_CRC]) != int.from_bytes(tail[-_CRC:], "little"):
            raise DamageError("the shard's index fails its checksum")
        index = np.frombuffer(tail, "<u8", 2 * meta.part_rows).reshape(-1, 2)[:rows]
        absent, stride = (index == _ABSENT).all(axis=1), meta.spec.row_bytes + _CRC
        fits = (index[:, 1] == stride) & (index[:, 0] <= max(size - length - stride, 0))
        if not (absent | fits).all():
            raise DamageError(f"row {int((~(absent | fits)).argmax())} of the part lies outside the shard")
        return np.where(absent, -1, index[:, 0].astype(np.int64))


FORMAT = ZarrFormat()


def _document(meta: ArrayMeta) -> dict[str, Any]:
    dtype, fill, logical = _TIERS[meta.spec.tier]
    shape = list(meta.spec.shape)
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    crc: dict[str, Any] = {"name": "crc32c"}
    sharding = {
        "chunk_shape": [1, *shape],
        "codecs": [little, crc],
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
        "attributes": {"logical_dtype": logical, "visual_thought": _own_attributes(meta)},
    }


def _own_attributes(meta: ArrayMeta) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "index": meta.index_id,
        "feature": meta.spec.to_json(),
        "fingerprint": meta.spec.fingerprint,
        "checksum": _checksum(meta),
    }


def _checksum(meta: ArrayMeta) -> str:
    """One hash over all that the rest of the document is derived from."""
    return sha256_json([SCHEMA, meta.index_id, meta.rows, meta.part_rows, meta.spec.to_json()])


def _crcs(rows: UInt8[np.ndarray, "rows bytes"]) -> UInt32[np.ndarray, " rows"]:
    return np.fromiter((google_crc32c.value(row) for row in rows), np.uint32, len(rows))
