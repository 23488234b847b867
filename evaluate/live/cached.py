"""An episode's rows out of the store: what the head reads of every frame, without a backbone."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int
from torch import Tensor

from ...pipeline.errors import StoreIncomplete
from ...pipeline.store import FeatureStore
from ...pipeline.store.reader import RowReader
from ...pipeline.store.tensors import decode
from ...train.inputs import readable_rows
from ...train.joins import FRAME, QUERY, match_rows
from ...train.loaded import LoadedRun
from ...train.nonfinite import finite_rows

ROWS_AT_ONCE = 64


def cached_rows(
    loaded: LoadedRun, store: FeatureStore, queries: pa.Table, names: Sequence[str], *, repo_id: str
) -> Iterator[dict[str, Float[Tensor, " b *shape"]]]:
    """The stored rows of some queries, some at a time, in their order, float32.

    Args:
        loaded: the run.
        store: holds its features.
        queries: columns of :data:`~...train.joins.QUERY`, all of one episode and camera.
        names: the run's feature names.
        repo_id: the dataset.

    Raises:
        StoreMismatch: the store's features are others than the run's.
        StoreIncomplete: a query has no row that is finite.
        StoreCorrupt: a row is damaged.
    """
    keys = loaded.features_in(store)
    with ExitStack() as stack:
        readers = {name: stack.enter_context(store.reader(keys[name], allow_partial=True)) for name in names}
        rows = {}
        for name, reader in readers.items():
            index = finite_rows(reader, readable_rows(store, keys[name], reader), allow_nan=True)
            rows[name] = match_rows(queries, index, QUERY if reader.spec.per == "query" else FRAME, repo_id)
            _refuse_absent(name, rows[name], queries, index, store)
        for start in range(0, len(queries), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            yield {name: read_rows(reader, rows[name][part]) for name, reader in readers.items()}


def read_rows(reader: RowReader, rows: Int[np.ndarray, " n"]) -> Float[Tensor, " n *shape"]:
    """Rows as float32; StoreCorrupt if one is damaged."""
    stored = np.empty((len(rows), *reader.spec.stored_shape), reader.dtype)
    reader.read_into(rows, stored)
    return decode(stored, reader.spec, reader.channel_scale).float()


def _refuse_absent(
    name: str, found: Int[np.ndarray, " n"], queries: pa.Table, index: pa.Table, store: FeatureStore
) -> None:
    missing = int((found < 0).sum())
    if not missing:
        return
    asked = sorted(set(queries["instruction"].to_pylist()))
    raise StoreIncomplete(
        f"the store {store.place} has no row of {name} for {missing} of {len(queries)} frames",
        found=_there(queries, index),
        expected=f"a row for each frame, asked {_quoted(asked)}",
        remedy="ask what the store was asked, extract the rest, or add --live: the backbone then answers",
    )


def _there(queries: pa.Table, index: pa.Table) -> str:
    """What the index holds of the episode and camera that the queries are about."""
    episode, camera = (queries[name][0] for name in ("episode_index", "camera"))
    near = index.filter(pc.and_(pc.equal(index["episode_index"], episode), pc.equal(index["camera"], camera)))
    told = f"{len(near)} rows of episode {episode.as_py()}, camera {camera.as_py()}"
    if "instruction" not in near.column_names or not len(near):
        return told
    return f"{told}, asked {_quoted(sorted(set(near['instruction'].to_pylist())))}"


def _quoted(texts: Sequence[str]) -> str:
    return ", ".join(f"“{text}”" for text in texts[:6]) + (" …" if len(texts) > 6 else "")
