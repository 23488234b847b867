"""Is a feature all there? Whoever trains on less must say so."""

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import StoreIncomplete
from ..words import counted
from .index import row_key
from .inspection import said_numbers
from .receipt import read_receipt
from .skipped import EpisodeId
from .store import FeatureStore
from .survey import command_of


def refuse_partial(store: FeatureStore, feature: str, *, skipped: Collection[EpisodeId] = ()) -> None:
    """StoreIncomplete if planned rows of a feature are missing: says how many, of which episodes, and how to go on.

    Args:
        store: the store.
        feature: a name that means one feature, or a key.
        skipped: episodes that may be missing: a part does not count as missing if all its rows are theirs, or stand
            in another part.

    Raises:
        StoreIncomplete: parts are missing.
        StoreCorrupt: a receipt is damaged.
        ConfigError: no such feature, or several of that name.
    """
    key = store.resolve(feature)
    there = store.status(key)
    if not there.missing or (skipped and not _lacks(store, key, skipped)):
        return
    missing = sum(map(len, there.missing.values()))
    raise StoreIncomplete(
        f"{store.path} is only partly extracted: {there.present} of {there.planned} rows of {key} "
        f"({100 * there.present // there.planned}%)",
        found=f"{counted(missing, 'part')} missing, with rows of {_episodes(store, there.missing, key)}",
        expected="every row that was planned",
        remedy=f"finish it with {_command(store, key)}, or use what is there with --allow-partial",
    )


def _lacks(store: FeatureStore, key: str, skipped: Collection[EpisodeId]) -> bool:
    """Whether a planned row of other episodes stands in no finished part."""
    present: list[pa.Table] = []
    missing: list[pa.Table] = []
    for array in (array for array in store.arrays() if array.key == key):
        finished = np.zeros(array.rows, bool)
        for part in array.finished_parts():
            rows = array.meta.part_range(part)
            finished[rows.start : rows.stop] = True
        table = store.index_table(array.index_id).select(row_key(array.spec.per))
        present.append(table.filter(pa.array(finished)))
        missing.append(table.filter(pa.array(~finished)))
    names = row_key(store.features()[key].per)
    absent = pa.concat_tables(missing).join(pa.concat_tables(present), keys=list(names), join_type="left anti")
    pairs = zip(absent["repo_id"].to_pylist(), absent["episode_index"].to_pylist(), strict=True)
    return not set(pairs) <= set(skipped)


def _episodes(store: FeatureStore, missing: dict[str, tuple[str, ...]], key: str) -> str:
    """The episodes that lack rows, by dataset."""
    found: dict[str, set[int]] = {}
    for array in store.arrays():
        for part in missing.get(array.index_id, ()) if array.key == key else ():
            rows = array.meta.part_range(int(part))
            table = store.index_table(array.index_id).slice(rows.start, len(rows))
            for repo_id in pc.unique(table["repo_id"]).to_pylist():
                episodes = table.filter(pc.equal(table["repo_id"], repo_id))["episode_index"]
                found.setdefault(repo_id, set()).update(pc.unique(episodes).to_pylist())
    return "; ".join(
        f"{repo_id} episode{'s' if len(numbers) > 1 else ''} {said_numbers(sorted(numbers))}"
        for repo_id, numbers in found.items()
    )


def _command(store: FeatureStore, key: str) -> str:
    """A command that some part of the feature was made by."""
    receipts = (
        read_receipt(store.path, array.receipt_path(part))
        for array in store.arrays()
        if array.key == key
        for part in array.finished_parts()
    )
    return f"`{command_of(receipts) or 'vtt extract'}`"
