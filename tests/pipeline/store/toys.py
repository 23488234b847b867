"""Small stores with known numbers in them."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pyarrow as pa

from visual_thought.pipeline.spec import FeatureSpec, ImageSpec, TokenLayout
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.format import FORMATS

FORMAT_NAMES = sorted(FORMATS)
ROWS = 300  # three parts: 128, 128, 44
SHAPE = (3, 4)


def a_spec(name="z", *, per="frame", tier="bf16", shape=SHAPE, numerics=1):
    compute = {"backbone": "toy", "weights": {"model.safetensors": "0" * 64}, "numerics": numerics}
    return FeatureSpec(name, per, shape, TokenLayout((1, 2), prefix=1), ImageSpec(8, 8), tier, compute)


def some_frames(count=ROWS, *, start=0, revision="r1", repo_id="lab/cubes"):
    number = np.arange(start, start + count)
    return pa.table(
        {
            "repo_id": [repo_id] * count,
            "revision": [revision] * count,
            "episode_index": (number // 100).tolist(),
            "frame_index": (number % 100).tolist(),
            "camera": ["main"] * count,
            "timestamp_s": (number % 100 / 10).tolist(),
        }
    )


def some_queries(count=ROWS):
    frames = some_frames(count)
    twice = pa.concat_tables([frames, frames])
    words = ["pick the orange cube"] * count + ["pick the white cube, né?"] * count
    return twice.append_column("instruction", pa.array(words))


def some_values(spec, rows=ROWS, *, seed=0):
    """Finite numbers of a feature, as stored."""
    numbers = np.random.default_rng(seed).standard_normal((rows, *spec.shape)).astype(np.float32)
    return numbers if spec.tier == "fp32" else (numbers.view(np.uint32) >> 16).astype(np.uint16)


def fill(store, spec, table, values, *, parts=None, **options):
    """Plan and commit; ``values`` follow the rows of the one new index."""
    (plan,) = plan_array(store, spec, table, **options)
    for part in plan.missing if parts is None else parts:
        rows = plan.part_range(part)
        commit_part(store, plan, part, values[rows.start : rows.stop])
    return plan


def filled_store(path, *, tier="bf16", name="z", rows=ROWS, store_format="zarr"):
    """A finished store of one feature, and its values."""
    spec, store = a_spec(name, tier=tier), FeatureStore.create(path)
    values = some_values(spec, rows)
    fill(store, spec, some_frames(rows), values, store_format=store_format)
    return store, values


def read_all(store, feature="z", **options):
    with store.reader(feature, **options) as reader:
        out = np.empty((reader.num_rows, *reader.spec.shape), reader.dtype)
        reader.read_into(np.arange(reader.num_rows), out)
        return out


def overwrite(path, data):
    """Change a committed file behind the store's back."""
    os.chmod(path, 0o640)
    Path(path).write_bytes(data)


def flip(path, bit):
    """Flip one bit of a file; flipping it again restores the file."""
    data = bytearray(Path(path).read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    overwrite(path, data)


def some_bits(path, count, *, start=0, stop=None, seed=0):
    """Bit positions spread at random over a file's bytes [start, stop)."""
    stop = Path(path).stat().st_size if stop is None else stop
    return np.random.default_rng(seed).integers(8 * start, 8 * stop, count).tolist()


def row_spans(array, part):
    """Where the rows of a part lie in its file."""
    data = array.part_path(part).read_bytes()
    rows = len(array.meta.part_range(part))
    return array.format.row_spans(array.meta, rows, len(data), lambda offset, size: data[offset : offset + size])


def some_row_bits(array, part, count, *, seed=0):
    """Bit positions at random in the rows of a part, not in what lies between them."""
    spans, rng = row_spans(array, part), np.random.default_rng(seed)
    chosen = spans[rng.integers(0, len(spans), count)]
    return [int(8 * offset + rng.integers(0, 8 * size)) for offset, size in chosen]


def files_below(path):
    """Every file of a folder with its sha256."""
    found = sorted(Path(path).rglob("*"))
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in found if file.is_file()
    }
