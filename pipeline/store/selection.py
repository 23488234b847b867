"""Which parts of a store are meant by features, cameras and episodes: whole parts, since nothing smaller moves."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool

from ..errors import ConfigError, StoreIncomplete
from .array import ArrayRef
from .receipt import Receipt, read_receipt
from .store import FeatureStore

_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


@dataclass(frozen=True)
class Selection:
    """Rows of a store. An empty tuple means all.

    Args:
        features: names or keys.
        cameras: cameras.
        episodes: (first, last) episode indices, both ends included.
    """

    features: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    episodes: tuple[tuple[int, int], ...] = ()

    def wanted(self, table: pa.Table) -> Bool[np.ndarray, " rows"]:
        """Which rows of an index are selected."""
        chosen = np.ones(table.num_rows, bool)
        if self.cameras:
            chosen &= pc.is_in(table["camera"], pa.array(self.cameras)).to_numpy()
        if self.episodes:
            episode = table["episode_index"].to_numpy()
            chosen &= np.any([(first <= episode) & (episode <= last) for first, last in self.episodes], axis=0)
        return chosen


@dataclass(frozen=True)
class Parcel:
    """The finished parts of one array that hold a selected row.

    Args:
        array: the array.
        receipts: of those parts, by part.
        rows_selected: selected rows in them.
        parts_missing: parts that hold a selected row and are not finished.
    """

    array: ArrayRef
    receipts: dict[int, Receipt]
    rows_selected: int
    parts_missing: int

    @property
    def rows(self) -> int:
        """Rows of the parts, selected or not."""
        return sum(receipt.rows for receipt in self.receipts.values())

    @property
    def bytes(self) -> int:
        """Bytes of the parts' files."""
        return sum(receipt.bytes for receipt in self.receipts.values())

    def to_json(self) -> dict[str, Any]:
        """Its counts, as plain data."""
        return {
            "feature": self.array.key,
            "index": self.array.index_id,
            "parts": len(self.receipts),
            "parts_missing": self.parts_missing,
            "rows": self.rows,
            "rows_selected": self.rows_selected,
            "bytes": self.bytes,
        }


def parse_episodes(text: str) -> tuple[tuple[int, int], ...]:
    """``0-9,12`` as ((0, 9), (12, 12)); ConfigError for anything else."""
    found = []
    for piece in text.split(","):
        match = _RANGE.fullmatch(piece.strip())
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ConfigError("episodes cannot be read", found=piece, expected="indices and ranges, such as 0-9,12")
        found.append((int(match[1]), int(match[2] or match[1])))
    return tuple(found)


def select(store: FeatureStore, selection: Selection) -> list[Parcel]:
    """The parcels of a selection, by key, then by index id.

    Raises:
        ConfigError: a feature or camera that the store does not have, or no row is selected.
        StoreIncomplete: none of the selected rows is in a finished part.
        StoreCorrupt: a receipt or an index is damaged.
    """
    arrays = _arrays(store, selection.features)
    _refuse_unknown_cameras(store, arrays, selection.cameras)
    parcels = [parcel for array in arrays if (parcel := _parcel(store, array, selection)) is not None]
    if not parcels:
        raise ConfigError(f"no row of {store.place} is selected", found=_told(selection))
    if not any(parcel.receipts for parcel in parcels):
        raise StoreIncomplete(
            f"no selected row of {store.place} is there yet", remedy="finish the extraction, or select something else"
        )
    return parcels


def _arrays(store: FeatureStore, features: Sequence[str]) -> list[ArrayRef]:
    arrays = store.arrays()
    known = {name for array in arrays for name in (array.key, array.spec.name)}
    if unknown := sorted(set(features) - known):
        keys = sorted({array.key for array in arrays})
        raise ConfigError(f"{store.place} has no feature {unknown[0]!r}", found=unknown, expected=keys)
    return [array for array in arrays if not features or {array.key, array.spec.name} & set(features)]


def _refuse_unknown_cameras(store: FeatureStore, arrays: Sequence[ArrayRef], cameras: Sequence[str]) -> None:
    known = {
        camera
        for index in {a.index_id for a in arrays}
        for camera in store.index_table(index)["camera"].unique().to_pylist()
    }
    if unknown := sorted(set(cameras) - known):
        raise ConfigError(f"{store.place} has no camera {unknown[0]!r}", found=unknown, expected=sorted(known))


def _parcel(store: FeatureStore, array: ArrayRef, selection: Selection) -> Parcel | None:
    """The array's share; None if none of its rows is selected."""
    chosen = selection.wanted(store.index_table(array.index_id))
    ranges = [array.meta.part_range(part) for part in range(array.num_parts)]
    selected = {part: int(chosen[rows.start : rows.stop].sum()) for part, rows in enumerate(ranges)}
    wanted = {part for part, count in selected.items() if count}
    if not wanted:
        return None
    finished = sorted(wanted & set(array.finished_parts()))
    receipts = {part: read_receipt(array.layout.root, array.receipt_path(part)) for part in finished}
    return Parcel(array, receipts, sum(selected[part] for part in finished), len(wanted - set(finished)))


def _told(selection: Selection) -> str:
    episodes = ",".join(f"{first}-{last}" for first, last in selection.episodes)
    said = {"features": ",".join(selection.features), "cameras": ",".join(selection.cameras), "episodes": episodes}
    return "; ".join(f"{name} {value or 'all'}" for name, value in said.items())
