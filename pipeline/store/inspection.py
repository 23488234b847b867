"""Everything a store says about its features, without reading a number of them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool

from ..words import counted
from .array import ArrayRef
from .listing import FeatureSummary, readable_bytes, summarise_feature
from .receipt import Receipt, read_receipt
from .snapshot import snapshot_numbers
from .store import FeatureStore
from .survey import command_of


@dataclass(frozen=True)
class Coverage:
    """Rows of one dataset that are there: which episodes and cameras, and how many rows."""

    repo_id: str
    revision: str
    episodes: tuple[int, ...]
    cameras: tuple[str, ...]
    rows: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        names = {"repo_id": self.repo_id, "revision": self.revision}
        return names | {"episodes": [*self.episodes], "cameras": [*self.cameras], "rows": self.rows}


@dataclass(frozen=True)
class FeatureInspection:
    """One feature.

    Args:
        summary: what ``vtt store ls`` says.
        codecs: of its arrays.
        channel_scale: where the scale of an int8 feature was measured.
        indexes: the ids of its arrays' indexes.
        coverage: the rows that are there.
        seconds: spent making them, by stage, over all parts that say so.
        hosts: parts made on each machine.
        versions: versions of the software that made it; several where parts differ.
        command: a command that makes it.
    """

    summary: FeatureSummary
    codecs: tuple[str, ...]
    channel_scale: str | None
    indexes: tuple[str, ...]
    coverage: tuple[Coverage, ...]
    seconds: Mapping[str, float]
    hosts: Mapping[str, int]
    versions: Mapping[str, tuple[str, ...]]
    command: str | None

    def to_json(self) -> dict[str, Any]:
        """Everything it says, as plain data."""
        lists = {"codecs": [*self.codecs], "indexes": [*self.indexes], "channel_scale": self.channel_scale}
        made = {"seconds": dict(self.seconds), "hosts": dict(self.hosts), "command": self.command}
        versions = {name: [*found] for name, found in self.versions.items()}
        coverage = [one.to_json() for one in self.coverage]
        return self.summary.to_json() | lists | {"coverage": coverage} | made | {"versions": versions}

    def render(self) -> str:
        """The same for people."""
        spec, summary = self.summary.spec, self.summary
        image, layout = spec.image, spec.layout
        rows = f"{summary.rows_present} of {summary.rows_planned} rows"
        lines = [
            f"{spec.key}  {' x '.join(map(str, spec.shape))} {spec.tier} per {spec.per}",
            *_entry("there", [f"{rows} in {summary.parts_present} of {counted(summary.parts_planned, 'part')}, "]),
        ]
        lines[-1] += f"{readable_bytes(summary.bytes)}, {readable_bytes(spec.row_bytes)} a row"
        lines += _entry("rows", [_said_coverage(one) for one in self.coverage])
        lines += _entry("not finite", [f"{summary.nan_count} NaN, {summary.inf_count} infinite numbers"])
        lines += _entry("stored as", [f"{', '.join(summary.formats)}, codec {', '.join(self.codecs)}"])
        lines += _entry("int8 scale", [self.channel_scale] if self.channel_scale else [])
        lines += _entry("indexes", self.indexes)
        lines += _entry("fingerprint", [spec.fingerprint])
        lines += _entry("computed by", _flat(spec.compute))
        lines += _entry(
            "image",
            [f"{image.height} x {image.width} {image.resize}, mean {_said(image.mean)}, std {_said(image.std)}"],
        )
        grid = f"{layout.prefix} pooled, {layout.grid[0]} x {layout.grid[1]} places, {layout.text} of language"
        lines += _entry("tokens", [grid])
        lines += _entry("time", [", ".join(f"{stage} {spent:.1f} s" for stage, spent in self.seconds.items())])
        lines += _entry("made on", [f"{host} ({counted(parts, 'part')})" for host, parts in self.hosts.items()])
        lines += _entry("versions", [", ".join(f"{name} {'/'.join(v)}" for name, v in self.versions.items())])
        lines += _entry("command", [self.command] if self.command else [])
        return "\n".join(lines)


@dataclass(frozen=True)
class Inspection:
    """A store: its features, and the numbers of its snapshots."""

    path: Path
    features: tuple[FeatureInspection, ...]
    snapshots: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything it says, as plain data."""
        features = [feature.to_json() for feature in self.features]
        return {"path": str(self.path), "features": features, "snapshots": [*self.snapshots]}

    def render(self) -> str:
        """The same for people."""
        size = readable_bytes(sum(feature.summary.bytes for feature in self.features))
        snapshots = f", {counted(len(self.snapshots), 'snapshot')}" if self.snapshots else ""
        head = f"{self.path}: {counted(len(self.features), 'feature')}, {size}{snapshots}"
        return "\n\n".join([head, *(feature.render() for feature in self.features)])


def inspect(path: str | Path, feature: str | None = None) -> Inspection:
    """Everything a store's metadata, indexes and receipts say, of all features or of one.

    Args:
        path: the store.
        feature: a name that means one feature, or a key; None for all.

    Raises:
        StoreError: no feature store, or something in it is damaged.
        ConfigError: no such feature, or several of that name.
    """
    store = FeatureStore.open(path)
    wanted = None if feature is None else store.resolve(feature)
    arrays: dict[str, list[ArrayRef]] = {}
    for array in store.arrays():
        if wanted in (None, array.key):
            arrays.setdefault(array.key, []).append(array)
    features = tuple(_inspect(store, found) for found in arrays.values())
    return Inspection(store.path, features, tuple(snapshot_numbers(store.layout)))


def _inspect(store: FeatureStore, arrays: Sequence[ArrayRef]) -> FeatureInspection:
    receipts = [
        [read_receipt(store.path, array.receipt_path(part)) for part in array.finished_parts()] for array in arrays
    ]
    every = [receipt for found in receipts for receipt in found]
    scale = arrays[0].meta.channel_scale
    return FeatureInspection(
        summary=summarise_feature(arrays, every),
        codecs=tuple(sorted({array.meta.codec for array in arrays})),
        channel_scale=None if scale is None else f"measured on {scale.rows} rows: {scale.measured_on}",
        indexes=tuple(array.index_id for array in arrays),
        coverage=tuple(_coverage(store, arrays, receipts)),
        seconds=_seconds(every),
        hosts=Counter(host for receipt in every if isinstance(host := receipt.info.get("host"), str)),
        versions=_versions(every),
        command=command_of(every),
    )


def _coverage(store: FeatureStore, arrays: Sequence[ArrayRef], receipts: Sequence[list[Receipt]]) -> list[Coverage]:
    tables = [
        store.index_table(array.index_id).filter(pa.array(_present(array, found)))
        for array, found in zip(arrays, receipts, strict=True)
    ]
    columns = ["repo_id", "revision", "episode_index", "camera"]
    table = pa.concat_tables([table.select(columns) for table in tables])
    groups = (
        table.group_by(columns[:2])
        .aggregate([([], "count_all")])
        .sort_by([(name, "ascending") for name in columns[:2]])
    )
    found = []
    for group in groups.to_pylist():
        of_it = pc.and_(pc.equal(table["repo_id"], group["repo_id"]), pc.equal(table["revision"], group["revision"]))
        rows = table.filter(of_it)
        episodes, cameras = (sorted(pc.unique(rows[name]).to_pylist()) for name in columns[2:])
        found.append(Coverage(group["repo_id"], group["revision"], tuple(episodes), tuple(cameras), len(rows)))
    return found


def _present(array: ArrayRef, receipts: Iterable[Receipt]) -> Bool[np.ndarray, " rows"]:
    present = np.zeros(array.rows, bool)
    for receipt in receipts:
        present[receipt.row_start : receipt.row_stop] = True
    return present


def _seconds(receipts: Iterable[Receipt]) -> dict[str, float]:
    spent: Counter[str] = Counter()
    for receipt in receipts:
        said = receipt.info.get("seconds")
        for stage, seconds in said.items() if isinstance(said, dict) else ():
            if isinstance(seconds, (int, float)):
                spent[stage] += seconds  # type: ignore[assignment]
    return {stage: round(float(seconds), 3) for stage, seconds in spent.items()}


def _versions(receipts: Iterable[Receipt]) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for receipt in receipts:
        said = receipt.info.get("versions")
        for name, version in said.items() if isinstance(said, dict) else ():
            if isinstance(version, str):
                found.setdefault(name, {})[version] = None
    return {name: tuple(versions) for name, versions in found.items()}


def _entry(name: str, values: Sequence[str]) -> list[str]:
    """``name`` before the first value, the others below it; nothing without values."""
    told = [value for value in values if value]
    return [f"  {name if number == 0 else '':<12} {value}" for number, value in enumerate(told)]


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for key, one in value.items():
        lines += _flat(one, f"{prefix}{key}.") if isinstance(one, Mapping) else [f"{prefix}{key}: {_said(one)}"]
    return lines


def _said_coverage(one: Coverage) -> str:
    episodes = f"{counted(len(one.episodes), 'episode')} ({said_numbers(one.episodes)})"
    return f"{one.repo_id} at {one.revision}: {one.rows} rows, {episodes}, {', '.join(one.cameras)}"


def said_numbers(numbers: Sequence[int]) -> str:
    """Sorted numbers with runs drawn together: ``0–4, 7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}–{high}" for low, high in runs)


def _said(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
