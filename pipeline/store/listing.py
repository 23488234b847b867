"""What a store holds, for people and for scripts."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..place import Place
from ..spec import FeatureSpec
from .array import ArrayRef
from .receipt import Receipt, read_receipt
from .store import FeatureStore


@dataclass(frozen=True)
class FeatureSummary:
    """One feature of a store.

    Args:
        spec: the feature.
        formats: of its arrays' files.
        arrays: how many arrays (one an index) hold it.
        rows_present: rows in finished parts.
        rows_planned: rows of all its indexes.
        parts_present: finished parts.
        parts_planned: all parts.
        bytes: of the finished parts' files, as their receipts say.
        nan_count: numbers that are NaN.
        inf_count: numbers that are infinite.
    """

    spec: FeatureSpec
    formats: tuple[str, ...]
    arrays: int
    rows_present: int
    rows_planned: int
    parts_present: int
    parts_planned: int
    bytes: int
    nan_count: int
    inf_count: int

    @property
    def complete(self) -> bool:
        """Whether every planned part is there."""
        return self.parts_present == self.parts_planned

    def to_json(self) -> dict[str, Any]:
        """Everything it says, as plain data, with the feature's key and whole fingerprint."""
        own = {"key": self.spec.key, "fingerprint": self.spec.fingerprint, "complete": self.complete}
        counts = asdict(self) | {"formats": list(self.formats)}
        return own | counts | {"spec": self.spec.to_json()}

    def render(self) -> list[str]:
        """One cell a column of :meth:`StoreSummary.render`."""
        share = f"{self.rows_present / self.rows_planned:.0%}"
        rows = f"{self.rows_present}" if self.complete else f"{self.rows_present} of {self.rows_planned} ({share})"
        strange = ", ".join(
            f"{count} {name}" for count, name in ((self.nan_count, "NaN"), (self.inf_count, "inf")) if count
        )
        shape = " x ".join(map(str, self.spec.shape))
        return [self.spec.key, rows, self.spec.per, shape, self.spec.tier, readable_bytes(self.bytes), strange or "-"]


@dataclass(frozen=True)
class StoreSummary:
    """A store and its features, by key."""

    path: Place
    features: tuple[FeatureSummary, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all finished parts."""
        return sum(feature.bytes for feature in self.features)

    def to_json(self) -> dict[str, Any]:
        """The store as plain data."""
        features = [feature.to_json() for feature in self.features]
        return {"path": str(self.path), "bytes": self.bytes, "features": features}

    def render(self) -> str:
        """The store as a table for people."""
        cells = [["feature", "rows", "per", "shape", "tier", "bytes", "not finite"]]
        cells += [feature.render() for feature in self.features]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
        total = f"{self.path}: {len(self.features)} features, {readable_bytes(self.bytes)}"
        return "\n".join([total, *(lines if self.features else [])])


def summarise(store: FeatureStore) -> StoreSummary:
    """Read every receipt of a store, no part. Raises StoreCorrupt, StoreIncomplete as reading them does."""
    arrays: dict[str, list[ArrayRef]] = {}
    for array in store.arrays():
        arrays.setdefault(array.key, []).append(array)
    return StoreSummary(store.place, tuple(summarise_feature(found, _receipts(found)) for found in arrays.values()))


def readable_bytes(count: int) -> str:
    """Decimal units, three digits: 26214400 is "26.2 MB"."""
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.3g} {units[0]}" if size < 1000 else f"{size:.0f} {units[0]}"


def summarise_feature(arrays: Sequence[ArrayRef], receipts: Sequence[Receipt]) -> FeatureSummary:
    """One feature, from its arrays and the receipts of all their finished parts."""
    spec = arrays[0].spec
    return FeatureSummary(
        spec=spec,
        formats=tuple(sorted({array.format_name for array in arrays})),
        arrays=len(arrays),
        rows_present=sum(receipt.rows for receipt in receipts),
        rows_planned=sum(array.rows for array in arrays),
        parts_present=len(receipts),
        parts_planned=sum(array.num_parts for array in arrays),
        bytes=sum(receipt.bytes for receipt in receipts),
        nan_count=sum(receipt.nan_count for receipt in receipts),
        inf_count=sum(receipt.inf_count for receipt in receipts),
    )


def _receipts(arrays: Iterable[ArrayRef]) -> list[Receipt]:
    return [
        read_receipt(array.layout.root, array.receipt_path(part)) for array in arrays for part in array.finished_parts()
    ]
