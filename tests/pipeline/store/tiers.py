"""Stores in every tier, format and codec, made the way users make them."""

import numpy as np
import pyarrow as pa
import pytest

from visual_thought.pipeline.manifest import DatasetManifest, ListedSplits
from visual_thought.pipeline.store import FRAMES_SCHEMA, FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.conversion import Target
from visual_thought.pipeline.store.convert import convert
from visual_thought.pipeline.store.receipt import read_receipt

from .toys import ROWS, a_spec, files_below, filled_store, some_frames, some_values

TIERS = ["bf16", "fp32"]
ZARR, HDF5, PACKED, INT8 = Target(), Target("hdf5"), Target(codec="bitshuffle-zstd"), Target(tier="int8")

KINDS = {
    "bf16": ("bf16", Target()),
    "fp32": ("fp32", Target()),
    "int8": ("fp32", Target(tier="int8")),
    "bf16 packed": ("bf16", Target(codec="bitshuffle-zstd")),
    "fp32 packed": ("fp32", Target(codec="bitshuffle-zstd")),
    "int8 packed": ("bf16", Target(tier="int8", codec="bitshuffle-zstd")),
    "bf16 in hdf5": ("bf16", Target("hdf5")),
    "fp32 in hdf5": ("fp32", Target("hdf5")),
    "int8 in hdf5": ("fp32", Target("hdf5", tier="int8")),
}
"""Name -> the tier of the source, and what it is converted to."""


def a_manifest(train=(0, 1), val=(2,), **changes):
    """The toy frames: three episodes, 0 to 2."""
    given = {"name": "cubes", "repo_id": "lab/cubes", "cameras": ("main",), "licence": "CC0-1.0", "simulated": True}
    return DatasetManifest(**given | {"splits": ListedSplits(train, val, ())} | changes)


def a_store(path, kind, rows=ROWS):
    """A store of one kind, and the float32 numbers it was made from."""
    tier, target = KINDS[kind]
    source, values = filled_store(path.with_name(path.name + "-source"), tier=tier, rows=rows)
    convert(source.path, path, target, manifest=a_manifest())
    return FeatureStore.open(path), as_float32(values)


def as_float32(values):
    return values if values.dtype == np.float32 else (values.astype(np.uint32) << 16).view(np.float32)


def framed_store(path, *, tier="bf16", **options):
    """A finished store whose parts have a table of frames and something to tell."""
    store, spec = FeatureStore.create(path), a_spec(tier=tier)
    values = some_values(spec)
    (plan,) = plan_array(store, spec, some_frames(), **options)
    for part in plan.missing:
        rows = plan.part_range(part)
        columns = {"pts_s": [row / 10 for row in rows], "pixels_sha256": [f"{row:064x}" for row in rows]}
        frames = pa.table(columns, schema=FRAMES_SCHEMA)
        commit_part(store, plan, part, values[rows.start : rows.stop], frames=frames, info={"host": "a", "part": part})
    return store


def receipts(store):
    """Every receipt of a store, by array and part."""
    return {
        (array.index_id, array.key, part): read_receipt(store.path, array.receipt_path(part))
        for array in store.arrays()
        for part in array.finished_parts()
    }


def parts_of(store):
    """The bytes of every part's file."""
    return {
        (array.key, part): array.part_path(part).read_bytes()
        for array in store.arrays()
        for part in array.finished_parts()
    }


def refused(error, source, path, target, *, match=None, **options):
    """A conversion that is refused and leaves the target as it was."""
    before = files_below(path)
    with pytest.raises(error, match=match) as found:
        convert(source, path, target, **options)
    assert files_below(path) == before
    assert path.exists() == bool(before)
    return found.value


def stored(store, feature="z", **options):
    """All rows as they are stored."""
    with store.reader(feature, **options) as reader:
        out = np.empty((reader.num_rows, *reader.spec.stored_shape), reader.dtype)
        reader.read_into(np.arange(reader.num_rows), out)
        return out
