"""Ours must be what zarr-python itself writes, and open there without us."""

import json

import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec

from visual_thought.pipeline.store.format import ArrayMeta
from visual_thought.pipeline.store.zarr_format import FORMAT

from .toys import a_spec, filled_store, some_values


def open_plainly(array):
    return zarr.open_array(array.path, mode="r", zarr_format=3)


def by_zarr_python(path, meta):
    """The same array, made by zarr-python alone."""
    shape = meta.spec.shape
    fill = 0x7FC0 if meta.spec.tier == "bf16" else np.nan
    return zarr.create_array(
        path,
        shape=(meta.rows, *shape),
        chunks=(1, *shape),
        shards=(128, *shape),
        dtype=meta.dtype,
        fill_value=fill,
        filters=None,
        serializer=BytesCodec(endian="little"),
        compressors=[Crc32cCodec()],
        chunk_key_encoding={"name": "default", "separator": "."},
    )


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (5,)])
@pytest.mark.parametrize("tier", ["bf16", "fp32"])
def test_files_are_byte_identical_to_those_of_zarr_python(tmp_path, tier, shape):
    meta = ArrayMeta(a_spec(tier=tier, shape=shape), "0" * 16, 172)
    values = some_values(meta.spec, 172)
    by_zarr_python(tmp_path / "theirs.zarr", meta)[:] = values
    for part in (0, 1):  # a full shard, and a last one of 44 rows
        rows = meta.part_range(part)
        ours = FORMAT.encode(meta, values[rows.start : rows.stop])
        assert (tmp_path / "theirs.zarr" / FORMAT.part_file(meta, part)).read_bytes() == ours
    theirs = json.loads((tmp_path / "theirs.zarr" / "zarr.json").read_text())
    ours = json.loads(FORMAT.describe(meta))
    assert ours | {"attributes": {}} == theirs


@pytest.mark.parametrize("tier", ["bf16", "fp32"])
def test_a_written_store_opens_in_plain_zarr_with_the_same_values(tmp_path, tier):
    store, values = filled_store(tmp_path / "store", tier=tier)
    (array,) = store.arrays()
    plain = open_plainly(array)
    assert plain.dtype == values.dtype
    assert plain[:].tobytes() == values.tobytes()
    assert plain.attrs["logical_dtype"] == {"bf16": "bfloat16", "fp32": "float32"}[tier]
    assert plain.attrs["visual_thought"]["fingerprint"] == array.spec.fingerprint
    assert plain.attrs["visual_thought"]["feature"] == array.spec.to_json()


@pytest.mark.parametrize("tier", ["bf16", "fp32"])
def test_what_is_missing_reads_as_nan_in_a_careless_reader(tmp_path, tier):
    store, _ = filled_store(tmp_path / "store", tier=tier)
    (array,) = store.arrays()
    array.part_path(1).unlink()
    missing = open_plainly(array)[128:256]
    numbers = missing if tier == "fp32" else (missing.astype(np.uint32) << 16).view(np.float32)
    assert np.isnan(numbers).all()


def test_plain_zarr_finds_a_flipped_bit(tmp_path):
    store, _ = filled_store(tmp_path / "store")
    (array,) = store.arrays()
    data = bytearray(array.part_path(0).read_bytes())
    data[5] ^= 1
    array.part_path(0).chmod(0o640)
    array.part_path(0).write_bytes(data)
    with pytest.raises(ValueError, match="checksum"):
        open_plainly(array)[0]


def test_metadata_is_golden():
    """The layout is on people's disks: this text never changes for schema 1."""
    document = json.loads(FORMAT.describe(ArrayMeta(a_spec(), "0123456789abcdef", 300)))
    spec = a_spec()
    assert document == {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [300, 3, 4],
        "data_type": "uint16",
        "fill_value": 32704,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [128, 3, 4]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "codecs": [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [1, 3, 4],
                    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
                    "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
                    "index_location": "end",
                },
            }
        ],
        "storage_transformers": [],
        "attributes": {
            "logical_dtype": "bfloat16",
            "visual_thought": {
                "schema": 1,
                "index": "0123456789abcdef",
                "feature": spec.to_json(),
                "fingerprint": spec.fingerprint,
                "checksum": document["attributes"]["visual_thought"]["checksum"],
            },
        },
    }
