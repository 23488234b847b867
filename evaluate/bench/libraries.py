"""Other libraries that keep rows of numbers, each with its own files and in its own best way, where it is installed.

Everybody delivers into the same buffers; who cannot read into them copies.
"""

import warnings
from collections.abc import Callable, Generator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Int, Shaped

from ...pipeline.store import FeatureStore
from .features import Batch, Features
from .readers import Read

SHUFFLED = 512
"""Samples in WebDataset's shuffle buffer."""


class Prepared(NamedTuple):
    """A library whose files are written and open.

    ``given`` tells the rows it gave last, if it has an order of its own, whatever is asked for.
    """

    read: Read
    given: Callable[[], Int[np.ndarray, " b"]] | None = None


def tensorstore(features: Features, batch: int, stack: ExitStack) -> Prepared:
    """TensorStore on our Zarr arrays."""
    del stack
    import tensorstore as ts

    store, out = FeatureStore.open(features.store("zarr")), features.buffers(batch)
    arrays = {
        array.spec.name: ts.open(
            {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{array.path}/"}}, open=True, read=True
        ).result()
        for array in store.arrays()
    }

    def read(rows: Int[np.ndarray, " b"]) -> Batch:
        wanted = {name: array[rows].read() for name, array in arrays.items()}
        for name, found in wanted.items():
            out[name][:] = found.result()
        return out

    return Prepared(read)


def webdataset(features: Features, batch: int, stack: ExitStack) -> Prepared:
    """WebDataset streams its shards and shuffles a buffer of 512 samples, which is how it comes to random batches."""
    import webdataset as wds

    folder, out, given = _folder(features, "webdataset", batch), features.buffers(batch), np.empty(batch, np.int64)
    with wds.ShardWriter(str(folder / "%06d.tar"), maxcount=128, verbose=0) as writer:
        for row in range(features.rows):
            named = {f"{name}.bin": values[row].tobytes() for name, values in features.values.items()}
            writer.write({"__key__": f"{row:08d}"} | named)
    shards = sorted(map(str, folder.glob("*.tar")))

    def samples() -> Generator[Any]:
        while True:
            yield from wds.WebDataset(shards, shardshuffle=False)

    endless = samples()  # shuffled behind the end of an epoch, or the buffer would empty there
    stack.callback(endless.close)
    stream = iter(wds.shuffle(SHUFFLED)(endless))

    def read(rows: Int[np.ndarray, " b"]) -> Batch:
        for place in range(len(rows)):
            sample = next(stream)
            given[place] = int(sample["__key__"])
            for name, values in out.items():
                values[place] = np.frombuffer(sample[f"{name}.bin"], np.uint16).reshape(values.shape[1:])
        return out

    return Prepared(read, lambda: given)


def litdata(features: Features, batch: int, stack: ExitStack) -> Prepared:
    """LitData's StreamingDataset, asked for one sample after another."""
    del stack
    from litdata import StreamingDataset
    from litdata.streaming.cache import Cache

    folder, out = _folder(features, "litdata", batch), features.buffers(batch)
    cache = Cache(str(folder), chunk_bytes="64MB")
    for row in range(features.rows):
        cache[row] = {name: values[row] for name, values in features.values.items()}
    cache.done()
    cache.merge(1)
    dataset = StreamingDataset(str(folder))

    def read(rows: Int[np.ndarray, " b"]) -> Batch:
        for place, row in enumerate(rows.tolist()):
            sample = dataset[row]
            for name, values in out.items():
                values[place] = sample[name]
        return out

    return Prepared(read)


def hf_datasets(features: Features, batch: int, stack: ExitStack) -> Prepared:
    """Hugging Face datasets: an Arrow file of fixed-size lists, memory-mapped, in its NumPy format."""
    del stack
    import datasets

    folder = _folder(features, "datasets", batch)
    columns = {name: _fixed_lists(values) for name, values in features.values.items()}
    bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        datasets.Dataset(pa.table(columns)).save_to_disk(str(folder))
    finally:
        if not bars:
            datasets.enable_progress_bars()
    dataset = datasets.load_from_disk(str(folder)).with_format("numpy")
    out = features.buffers(batch)

    def read(rows: Int[np.ndarray, " b"]) -> Batch:
        found = dataset[rows]
        for name, values in out.items():
            values[:] = found[name].reshape(values.shape)
        return out

    return Prepared(read)


def lance(features: Features, batch: int, stack: ExitStack) -> Prepared:
    """Lance: rows as binary, taken by number."""
    del stack
    from lance import dataset as open_dataset
    from lance import write_dataset

    folder, out = _folder(features, "lance", batch), features.buffers(batch)
    columns = {
        name: pa.array([row.tobytes() for row in values], pa.large_binary()) for name, values in features.values.items()
    }
    write_dataset(pa.table(columns), str(folder / "rows.lance"))
    dataset = open_dataset(str(folder / "rows.lance"))

    def read(rows: Int[np.ndarray, " b"]) -> Batch:
        found = dataset.take(rows.tolist())
        for name, values in out.items():
            for place, cell in enumerate(found.column(name)):
                values[place] = np.frombuffer(cell.as_buffer(), np.uint16).reshape(values.shape[1:])
        return out

    return Prepared(read)


class Library(NamedTuple):
    """A library: its name, the module it needs, how it is prepared."""

    name: str
    module: str
    prepare: Callable[[Features, int, ExitStack], Prepared]


LIBRARIES = (
    Library("tensorstore", "tensorstore", tensorstore),
    Library("WebDataset", "webdataset", webdataset),
    Library("LitData", "litdata", litdata),
    Library("HF datasets", "datasets", hf_datasets),
    Library("Lance", "lance", lance),
)
"""Everything beside our own files; one line adds one."""


def installed(module: str) -> bool:
    """Whether a library is there."""
    return find_spec(module) is not None


def quietly(prepare: Callable[[], Prepared]) -> Prepared:
    """Prepare a library without its warnings, which are not about us."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return prepare()


def _folder(features: Features, name: str, batch: int) -> Path:
    folder = features.folder / f"{name}-{batch}"
    folder.mkdir()
    return folder


def _fixed_lists(values: Shaped[np.ndarray, " rows *shape"]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values[0].size)
