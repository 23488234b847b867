"""A store to look after: two features, frames, receipts that know how they were made; and ways to harm it."""

import hashlib

import pyarrow as pa

from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array

from .toys import a_spec, flip, overwrite, some_frames, some_row_bits, some_values

COMMAND = "vtt extract tabletop_cubes --store /data/store --features z,e"
INFO = {"host": "node-1", "seconds": {"decode": 0.5, "forward": 2.0}, "versions": {"torch": "2.11"}, "command": COMMAND}


def frames_of(rows):
    """Time stamps and pixel hashes of the rows of a part."""
    hashes = [hashlib.sha256(str(row).encode()).hexdigest() for row in rows]
    return pa.table({"pts_s": [row / 10 for row in rows], "pixels_sha256": hashes})


def extract(store, spec=None, table=None, *, seed=0, parts=None, info=INFO, **options):
    """What an extraction does: plan, then commit every missing part with its frames; returns the parts it made."""
    spec, table = spec or a_spec(), some_frames() if table is None else table
    made = []
    for plan in plan_array(store, spec, table, **options):
        values = some_values(spec, plan.table.num_rows, seed=seed)
        for part in plan.missing if parts is None else parts:
            rows = plan.part_range(part)
            commit_part(store, plan, part, values[rows.start : rows.stop], frames=frames_of(rows), info=info)
            made.append(part)
    return made


def a_store(path, store_format="zarr"):
    """Features e (fp32, two of three parts, some NaN) and z (complete)."""
    store = FeatureStore.create(path)
    extract(store, store_format=store_format)
    extract(store, a_spec("e", tier="fp32", shape=(5,)), parts=[0, 2], store_format=store_format)
    return store


def array_of(store, name="z"):
    return next(array for array in store.arrays() if array.spec.name == name)


def _harm_text(path):
    overwrite(path, path.read_bytes().replace(b'"', b"'", 1))


def _swap_rows(store, array):
    """Another whole part of the same shape, as no checksum inside the file can tell."""
    overwrite(array.part_path(1), array.format.encode(array.meta, some_values(array.spec, 128, seed=9)))


HARMS = {
    "part missing": ("part", lambda store, z: z.part_path(1).unlink()),
    "part cut": ("part", lambda store, z: overwrite(z.part_path(1), z.part_path(1).read_bytes()[:-1])),
    "part empty": ("part", lambda store, z: overwrite(z.part_path(1), b"")),
    "part a folder": ("part", lambda store, z: (z.part_path(1).unlink(), z.part_path(1).mkdir())),
    "receipt flipped": ("receipt", lambda store, z: flip(z.receipt_path(1), 300)),
    "receipt empty": ("receipt", lambda store, z: overwrite(z.receipt_path(1), b"")),
    "receipt of another part": (
        "receipt",
        lambda store, z: overwrite(z.receipt_path(1), z.receipt_path(0).read_bytes()),
    ),
    "frames missing": ("frames", lambda store, z: store.layout.frames_file(z.index_id, z.key, 1).unlink()),
    "frames flipped": ("frames", lambda store, z: flip(store.layout.frames_file(z.index_id, z.key, 1), 999)),
    "metadata changed": ("metadata", lambda store, z: _harm_text(z.path / z.format.metadata_name)),
    "metadata missing": ("metadata", lambda store, z: (z.path / z.format.metadata_name).unlink()),
    "claim damaged": ("metadata", lambda store, z: overwrite(store.layout.claim_file(z.index_id, z.key), b"?")),
    "index missing": ("index", lambda store, z: store.layout.index_file(z.index_id).unlink()),
    "index flipped": ("index", lambda store, z: flip(store.layout.index_file(z.index_id), 8000)),
    "schema missing": ("schema", lambda store, z: store.layout.schema_file.unlink()),
    "schema damaged": ("schema", lambda store, z: overwrite(store.layout.schema_file, b"{}")),
    "a link": ("stray", lambda store, z: (z.path / "c.9.0.0").symlink_to("/etc/hostname")),
}
"""Name -> the kind of problem that a quick look finds, and what makes it."""

DEEP_HARMS = {
    "bits flipped": lambda store, z: [flip(z.part_path(1), bit) for bit in some_row_bits(z, 1, 3)],
    "another whole part": _swap_rows,
}
"""What only reading every byte finds."""
