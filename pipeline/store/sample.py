"""Rows drawn at random from a feature: some to measure on, and others that the scale of int8 is measured on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int64, Shaped

from ..errors import ManifestError, StoreIncomplete
from ..manifest import DatasetManifest
from .array import ArrayRef
from .index import row_key
from .int8 import ChannelScale
from .reader import RowReader
from .scale import Moments, rows_of, training_split
from .store import FeatureStore
from .tiers import to_float32

SCALE_ROWS = 2048
"""Rows that a simulated scale is measured on; a conversion measures on all of them."""


@dataclass(frozen=True, eq=False)
class Feature:
    """One feature of a store: its arrays by index id, and the rows of all their indexes, one after another."""

    arrays: Sequence[ArrayRef]
    table: pa.Table

    @property
    def finished(self) -> Bool[np.ndarray, " n"]:
        """Which rows lie in a finished part."""
        found: list[Bool[np.ndarray, " rows"]] = []
        for array in self.arrays:
            parts = np.isin(np.arange(array.num_parts), array.finished_parts())
            found.append(parts.repeat(array.meta.part_rows)[: array.rows])
        return np.concatenate(found)

    @property
    def scale(self) -> ChannelScale | None:
        """What int8 numbers are multiplied with."""
        return self.arrays[0].meta.channel_scale

    def open(self, rows: Int64[np.ndarray, " n"]) -> RowReader:
        """A reader of these rows that checks every one. Raises as :class:`RowReader`."""
        return RowReader(self.arrays, verify="always", only_rows=rows)


def read_rows(reader: RowReader, rows: Int64[np.ndarray, " n"]) -> Shaped[np.ndarray, " n *stored"]:
    """Rows as they are stored."""
    out = np.empty((len(rows), *reader.spec.stored_shape), reader.dtype)
    reader.read_into(rows, out)
    return out


def features_of(store: FeatureStore) -> dict[str, Feature]:
    """Every feature of a store, by key."""
    arrays: dict[str, list[ArrayRef]] = {}
    for array in store.arrays():
        arrays.setdefault(array.key, []).append(array)
    tables = {key: [store.index_table(array.index_id) for array in own] for key, own in arrays.items()}
    return {key: Feature(own, pa.concat_tables(tables[key])) for key, own in arrays.items()}


def matched(feature: Feature, other: Feature) -> Int64[np.ndarray, " n"]:
    """For every row of a feature the other's finished row of the same frame or query, -1 where there is none."""
    keys = ["revision", *row_key(feature.arrays[0].spec.per)]
    there = np.flatnonzero(other.finished)
    known = other.table.select(keys).take(pa.array(there)).append_column("other", pa.array(there))
    own = feature.table.select(keys).append_column("own", pa.array(np.arange(feature.table.num_rows)))
    joined = own.join(known, keys=keys, join_type="inner", use_threads=False)
    found = np.full(feature.table.num_rows, -1, np.int64)
    found[joined["own"].to_numpy()] = joined["other"].to_numpy()
    return found


@dataclass(frozen=True, eq=False)
class Drawn:
    """Global row numbers, ascending.

    Args:
        rows: what is measured.
        scale_rows: what a simulated int8 scale is measured on.
        scale_told: which rows those are, in words.
    """

    rows: Int64[np.ndarray, " n"]
    scale_rows: Int64[np.ndarray, " m"]
    scale_told: str


def draw(
    store: FeatureStore,
    feature: Feature,
    manifest: DatasetManifest | None,
    *,
    usable: Bool[np.ndarray, " rows"],
    count: int,
    seed: int,
) -> Drawn:
    """Draw rows; a manifest keeps those that are measured out of its training split, and the scale's rows inside it.

    Args:
        store: the store.
        feature: one of its features.
        manifest: without one, both are drawn from all rows, and no row is in both unless there is only one.
        usable: rows that may be drawn.
        count: most rows to measure.
        seed: another seed, another draw.

    Raises:
        StoreIncomplete: no row is usable.
        ManifestError: no usable row outside the training split, or none in it.
    """
    rng, key = np.random.default_rng(seed), feature.arrays[0].key
    if not usable.any():
        raise StoreIncomplete(f"{store.path} has no row of {key} to compare")
    if manifest is None:
        order = rng.permutation(np.flatnonzero(usable))
        count = min(count, max(1, len(order) // 2))
        rest = order[count:][:SCALE_ROWS] if len(order) > 1 else order
        return Drawn(np.sort(order[:count]), np.sort(rest), f"{len(rest)} other rows at random")
    train = usable & rows_of(feature.table, manifest, training_split(store, feature.arrays, manifest))
    held_out = usable & ~train & pc.equal(feature.table["repo_id"], manifest.repo_id).to_numpy()
    for found, what in ((held_out, "outside"), (train, "inside")):
        if not found.any():
            raise ManifestError(
                f"{store.path} has no row of {key} {what} the training split of {manifest.name}",
                remedy="name the manifest the features were extracted with, or none",
            )
    rest = rng.permutation(np.flatnonzero(train))[:SCALE_ROWS]
    told = f"{len(rest)} of {int(train.sum())} rows of training episodes of {manifest.name}"
    return Drawn(np.sort(rng.permutation(np.flatnonzero(held_out))[:count]), np.sort(rest), told)


def sample_scale(feature: Feature, rows: Int64[np.ndarray, " n"], told: str) -> ChannelScale:
    """The channels' scale over these rows. Raises StoreError if a number is not finite."""
    with feature.open(rows) as reader:
        return measured_scale(reader, rows, told)


def measured_scale(reader: RowReader, rows: Int64[np.ndarray, " n"], told: str) -> ChannelScale:
    """The channels' scale over some rows of a reader. Raises StoreError if a number is not finite."""
    moments = Moments()
    for row in rows:
        moments.add(to_float32(read_rows(reader, row[None]), reader.spec.tier, reader.channel_scale)[0])
    return moments.scale(told)
