"""Near-valid inputs for every parser of a store, under a memory limit; prints how many were tried of each.

    python fuzz.py EXAMPLES

Only errors of ours may come out.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, Phase, given, settings
from jenkins import seals
from limits import deadline, limit_memory, peak_memory
from near_valid import changed_bytes, changed_in, changed_json, lenient, sealed_metadata, sealed_receipt
from toys import a_spec, some_frames, some_values

from visual_thought.pipeline.errors import VisualThoughtError
from visual_thought.pipeline.spec import canonical_json
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.codecs import compress, decompress
from visual_thought.pipeline.store.format import ArrayMeta, DamageError, load_format
from visual_thought.pipeline.store.frames import parse_frames
from visual_thought.pipeline.store.index import canonical, index_id, read_index, to_parquet
from visual_thought.pipeline.store.int8 import ChannelScale
from visual_thought.pipeline.store.layout import Layout
from visual_thought.pipeline.store.receipt import read_receipt
from visual_thought.pipeline.store.snapshot import read_snapshots, seal, snapshot_file

INDEX = "0123456789abcdef"
ROWS = 20
MUCH = 1 << 30


class Parsers:
    """One good input of every kind, and what reads it. ``folder`` is where files are put that are read by name."""

    def __init__(self, folder):
        self.root = Path(folder) / "store"
        store, spec = FeatureStore.create(self.root), a_spec()
        (plan,) = plan_array(store, spec, some_frames(ROWS))
        frames = pa.table({"pts_s": np.arange(ROWS) / 10, "pixels_sha256": [f"{row:064x}" for row in range(ROWS)]})
        commit_part(store, plan, 0, some_values(spec, ROWS), frames=frames)
        (self.array,) = store.arrays()
        self.frames_bytes = store.layout.frames_file(self.array.index_id, self.array.key, 0).read_bytes()
        self.schema_bytes = (self.root / "vtt.json").read_bytes()
        self.plain = ArrayMeta(spec, INDEX, ROWS)
        self.packed = ArrayMeta(spec, INDEX, ROWS, codec="bitshuffle-zstd")
        scale = ChannelScale((1.0, 2.0, 3.0, 4.0), 100, "lab/cubes (r1), split train, episodes 0-9")
        self.int8 = ArrayMeta(a_spec(tier="int8"), INDEX, ROWS, channel_scale=scale)
        self.values = some_values(spec, ROWS)

    def in_file(self, data, read):
        path = self.root / "fuzzed"
        path.write_bytes(data)
        return read(path)

    def receipt(self):
        good = self.array.receipt_path(0).read_bytes()
        yield changed_bytes(good) | changed_json(json.loads(good)).map(sealed_receipt)
        yield lambda data: self.in_file(data, lambda path: read_receipt(self.root, path).row_checksums)

    def schema(self):
        good = (self.root / "vtt.json").read_bytes()

        def read(data):
            (self.root / "vtt.json").unlink()
            (self.root / "vtt.json").write_bytes(data)
            return FeatureStore.open(self.root)

        yield changed_bytes(good) | changed_json(json.loads(good)).map(
            lambda said: lenient(lambda: canonical_json(said))
        )
        yield read

    def metadata(self, name, meta):
        form = load_format(name)
        good = form.describe(meta)
        yield changed_bytes(good) | changed_json(json.loads(good)).map(sealed_metadata)
        yield lambda data: form.parse(data).is_possible()

    def index(self):
        table = canonical(some_frames(ROWS), "frame")
        identity = index_id(table)
        layout = Layout(self.root)

        def read(data):
            layout.index_file(identity).unlink(missing_ok=True)
            layout.index_file(identity).write_bytes(data)
            return read_index(layout, identity)

        yield changed_bytes(to_parquet(table))
        yield read

    def frames(self):
        yield changed_bytes(self.frames_bytes)
        yield lambda data: parse_frames(self.root / "frames.parquet", data, ROWS)

    def part(self, name, meta):
        form = load_format(name)
        good = form.encode(meta, self.values)

        def read(data):
            form.row_spans(meta, ROWS, len(data), lambda at, size: data[at : at + size])
            return form.decode(meta, ROWS, data)

        yield changed_bytes(good) if name == "zarr" else changed_bytes(good) | changed_in(good, seals(good))
        yield read

    def codec(self):
        good = compress(self.values[0].view(np.uint8).reshape(-1), self.plain.spec)
        out = np.empty(self.plain.spec.row_bytes, np.uint8)

        def read(data):
            try:
                decompress(data, out)
            except ValueError as error:
                raise DamageError(str(error)) from error

        yield changed_bytes(good)
        yield read

    def snapshot(self):
        (self.root / "vtt.json").unlink()
        (self.root / "vtt.json").write_bytes(self.schema_bytes)
        number = seal(self.root).number
        path = snapshot_file(Layout(self.root), number)
        good = path.read_bytes()

        def read(data):
            path.unlink()
            path.write_bytes(data)
            return read_snapshots(Layout(self.root))

        yield changed_bytes(good) | changed_json(json.loads(good)).map(sealed_receipt)
        yield read

    def all(self):
        """Every parser by name: what to change, and what reads it."""
        yield "receipt", self.receipt()
        yield "zarr.json", self.metadata("zarr", self.plain)
        yield "zarr.json of a codec", self.metadata("zarr", self.packed)
        yield "zarr.json of int8", self.metadata("zarr", self.int8)
        yield "array.json", self.metadata("hdf5", self.plain)
        yield "index", self.index()
        yield "frames", self.frames()
        yield "shard", self.part("zarr", self.plain)
        yield "packed shard", self.part("zarr", self.packed)
        yield "HDF5 part", self.part("hdf5", self.plain)
        yield "packed row", self.codec()
        yield "schema", self.schema()
        yield "snapshot", self.snapshot()


def attack(name, strategy, read, examples):
    """Give ``read`` many changed inputs; returns how many it refused."""
    refused = 0

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def try_one(data):
        nonlocal refused
        try:
            with deadline(30):
                read(data)
        except (VisualThoughtError, DamageError):
            refused += 1
        except BaseException as error:
            raise AssertionError(f"{name}: {error!r} came of {data[:2000]!r}") from error

    try_one()
    return refused


def main(examples):
    for name in ("zarr", "hdf5"):
        load_format(name)
    with TemporaryDirectory() as folder:
        parsers = list(Parsers(folder).all())
        limit_memory()
        before = peak_memory()
        for name, (strategy, read) in parsers:
            print(name, attack(name, strategy, read, examples), sep="\t", flush=True)
            assert peak_memory() - before < MUCH, f"{name} took {peak_memory() - before} bytes"


if __name__ == "__main__":
    main(int(sys.argv[1]))
