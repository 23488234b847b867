"""Is a feature all there? Whoever trains on less must say so."""

import pyarrow.compute as pc

from ..errors import StoreIncomplete
from ..words import counted
from .inspection import said_numbers
from .receipt import read_receipt
from .store import FeatureStore
from .survey import command_of


def refuse_partial(store: FeatureStore, feature: str) -> None:
    """StoreIncomplete if planned rows of a feature are missing: says how many, of which episodes, and how to go on.

    Args:
        store: the store.
        feature: a name that means one feature, or a key.

    Raises:
        StoreIncomplete: parts are missing.
        StoreCorrupt: a receipt is damaged.
        ConfigError: no such feature, or several of that name.
    """
    key = store.resolve(feature)
    there = store.status(key)
    if not there.missing:
        return
    missing = sum(map(len, there.missing.values()))
    raise StoreIncomplete(
        f"{store.path} is only partly extracted: {there.present} of {there.planned} rows of {key} "
        f"({100 * there.present // there.planned}%)",
        found=f"{counted(missing, 'part')} missing, with rows of {_episodes(store, there.missing, key)}",
        expected="every row that was planned",
        remedy=f"finish it with {_command(store, key)}, or use what is there with --allow-partial",
    )


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
