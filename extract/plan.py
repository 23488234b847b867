"""What an extraction would do: rows, parts, bytes, space; before any weights load."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from ..pipeline.errors import MachineError, StoreMismatch
from ..pipeline.place import Place, folder_of
from ..pipeline.spec import FeatureSpec, differences
from ..pipeline.store import ArrayPlan, FeatureStore, plan_array
from .backbones import find_backbone
from .config import ExtractConfig
from .dataset import Dataset, open_dataset
from .revisions import moved_rows, unchanged_rows

PART_OVERHEAD = 16384  # bytes of a part's receipt, frame table and shard index, rounded up


@dataclass(frozen=True)
class FeaturePlan:
    """What one feature asks of the store."""

    spec: FeatureSpec
    arrays: tuple[ArrayPlan, ...]
    """The arrays that hold its rows, with their missing parts."""
    rows: int
    """Rows asked for."""
    others: Mapping[str, Sequence[str]]
    """Arrays of the same name and another fingerprint: their key, and every field that differs."""
    moved: pa.Table
    """Rows that stand in the store under another revision of the dataset: counted as there until compared."""

    @property
    def formats(self) -> list[str]:
        """The formats of its arrays."""
        return sorted({plan.store_format for plan in self.arrays})

    @property
    def parts(self) -> int:
        """Parts of its arrays, finished or not."""
        return sum(plan.num_parts for plan in self.arrays)

    @property
    def missing(self) -> int:
        """Parts to make."""
        return sum(len(plan.missing) for plan in self.arrays)

    @property
    def bytes_missing(self) -> int:
        """Bytes the missing parts will take, receipts included."""
        return sum(plan.bytes_missing + PART_OVERHEAD * len(plan.missing) for plan in self.arrays)


@dataclass(frozen=True, eq=False)
class ExtractionPlan:
    """What one extraction would do."""

    config: ExtractConfig
    dataset: Dataset
    features: tuple[FeaturePlan, ...]
    free_bytes: int
    """Free space on the disk of the store, or of the local copy of a remote one, now."""

    @property
    def specs(self) -> tuple[FeatureSpec, ...]:
        """The features, in the order asked for."""
        return tuple(feature.spec for feature in self.features)

    @property
    def queries(self) -> pa.Table | None:
        """The query rows; None if no feature belongs to queries."""
        return self.dataset.queries if any(spec.per == "query" for spec in self.specs) else None

    @property
    def frames(self) -> pa.Table:
        """The frames to run: all of the manifest, or only those with a query if every feature belongs to queries."""
        if any(spec.per == "frame" for spec in self.specs):
            return self.dataset.frames
        return self.dataset.queries

    @property
    def bytes_missing(self) -> int:
        """Bytes the extraction will write."""
        return sum(feature.bytes_missing for feature in self.features)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to extract."""
        return all(feature.missing == 0 for feature in self.features)

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return {
            "store": str(self.config.store),
            "frames": self.dataset.frames.num_rows,
            "queries": None if self.queries is None else self.queries.num_rows,
            "bytes_missing": self.bytes_missing,
            "free_bytes": self.free_bytes,
            "complete": self.complete,
            "features": [_feature_json(feature) for feature in self.features],
        }


def plan(config: ExtractConfig, dataset: Dataset | None = None) -> ExtractionPlan:
    """Work out what ``extract`` would do; reads metadata and hashes only and writes nothing into the store.

    Args:
        config: what is asked for.
        dataset: the opened manifest, if it is open already.

    Raises:
        ConfigError, ManifestError, DatasetError, WeightsError: what was asked for cannot be.
        StoreMismatch: a feature is not the one of ``expect_fingerprint``, or the store holds something else under
            its key.
    """
    if dataset is None:
        dataset = open_dataset(
            config.manifest,
            lerobot_home=config.lerobot_home,
            hash_cache=config.hash_cache,
            missing_videos=config.on_error != "stop",
        )
    specs = find_backbone(config.backbone).describe(
        config.checkpoint,
        features=config.features,
        dtype=config.dtype,
        resize=config.resize,
        image_size=config.image_size,
        frame_size=None,
        options={},
        revision=config.checkpoint_revision,
        hash_cache=config.hash_cache,
        hub_cache=config.hub_cache,
    )
    store = FeatureStore.open(config.store) if config.store.exists() else FeatureStore(config.store)
    known = store.features()
    for spec in specs:
        _require_fingerprint(spec, config.expect_fingerprint.get(spec.name), known)
    features = tuple(_plan_feature(spec, dataset, store, known, config.store_format) for spec in specs)
    return ExtractionPlan(config, dataset, features, _free_bytes(config.store))


def compare_revisions(planned: ExtractionPlan) -> ExtractionPlan:
    """The same plan after comparing the pixels of rows that stand in the store under another revision.

    Raises:
        DatasetError: a frame cannot be decoded.
    """
    if not any(feature.moved.num_rows for feature in planned.features):
        return planned
    store = FeatureStore.open(planned.config.store)
    same = unchanged_rows(store, planned.dataset, {feature.spec: feature.moved for feature in planned.features})
    features = []
    for feature in planned.features:
        kept, rows = same[feature.spec], planned.dataset.rows(feature.spec.per)
        arrays = plan_array(
            store, feature.spec, rows, dry=True, same_pixels=kept, store_format=planned.config.store_format
        )
        features.append(replace(feature, arrays=tuple(arrays), moved=kept))
    return replace(planned, features=tuple(features))


def require_space(planned: ExtractionPlan) -> None:
    """Raise MachineError unless the missing parts fit the disk; says what would fit."""
    needed, room = planned.bytes_missing, planned.free_bytes - planned.config.keep_free_bytes
    if needed <= room:
        return
    raise MachineError(
        f"the features do not fit the disk of {planned.config.store}",
        found=f"{human_bytes(planned.free_bytes)} free ({planned.free_bytes} bytes), of which "
        f"{human_bytes(planned.config.keep_free_bytes)} stay free",
        expected=f"{human_bytes(needed)} ({needed} bytes)",
        remedy=_what_fits(planned, room),
    )


def render(planned: ExtractionPlan) -> str:
    """A plan as text for people."""
    queries = "" if planned.queries is None else f", {planned.queries.num_rows} queries"
    lines = [f"{planned.dataset.manifest.name}: {planned.dataset.frames.num_rows} frames{queries}"]
    for feature in planned.features:
        spec = feature.spec
        shape, formats = " x ".join(map(str, spec.shape)), " and ".join(feature.formats)
        lines.append(
            f"  {spec.key}  {feature.rows} rows of {shape} {spec.tier} in {formats}, {feature.parts} parts, "
            f"{feature.missing} missing, {human_bytes(feature.bytes_missing)} to write"
        )
        if feature.moved.num_rows:
            lines.append(f"    {feature.moved.num_rows} rows are of another revision: their pixels are compared first")
        for key, fields in feature.others.items():
            lines.append(f"    the store also has {key}, which differs in")
            lines += [f"      {field}" for field in fields]
    lines.append(f"  to write {human_bytes(planned.bytes_missing)}, free {human_bytes(planned.free_bytes)}")
    if planned.complete:
        lines.append("  nothing to extract")
    return "\n".join(lines)


def human_bytes(count: float) -> str:
    """A number of bytes as people read it: 12.3 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _plan_feature(
    spec: FeatureSpec, dataset: Dataset, store: FeatureStore, known: Mapping[str, FeatureSpec], store_format: str
) -> FeaturePlan:
    rows = dataset.rows(spec.per)
    moved = moved_rows(store, spec, rows)
    arrays = plan_array(store, spec, rows, dry=True, same_pixels=moved, store_format=store_format)
    others = {
        key: differences(other.to_json()["compute"], spec.to_json()["compute"])
        for key, other in known.items()
        if other.name == spec.name and other.fingerprint != spec.fingerprint
    }
    return FeaturePlan(spec, tuple(arrays), rows.num_rows, others, moved)


def _require_fingerprint(spec: FeatureSpec, expected: str | None, known: Mapping[str, FeatureSpec]) -> None:
    if expected is None or (expected and spec.fingerprint.startswith(expected)):
        return
    stored = next((other for other in known.values() if other.fingerprint.startswith(expected)), None)
    if stored is None or stored.name != spec.name:
        found: object = spec.fingerprint
    else:
        found = differences(spec.to_json()["compute"], stored.to_json()["compute"])
    raise StoreMismatch(
        f"{spec.name} would not be computed as expected",
        found=found,
        expected=f"fingerprint {expected}",
        remedy="use the checkpoint, dtype and image settings that made the expected feature",
    )


def _free_bytes(store: Place) -> int:
    place = folder_of(store).absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _what_fits(planned: ExtractionPlan, room: int) -> str:
    manifest, needed = planned.dataset.manifest, planned.bytes_missing
    ways = []
    if planned.config.dtype == "fp32":
        ways.append(f"dtype bf16 needs {human_bytes(needed / 2)}")
    if room > 0:
        stride = manifest.stride * -(-needed // room)
        ways.append(f"stride {stride} (now {manifest.stride}) needs {human_bytes(needed * manifest.stride / stride)}")
    return "; ".join([*ways, "or put the store on a larger disk"])


def _feature_json(feature: FeaturePlan) -> dict[str, Any]:
    return {
        "name": feature.spec.name,
        "key": feature.spec.key,
        "fingerprint": feature.spec.fingerprint,
        "shape": list(feature.spec.shape),
        "tier": feature.spec.tier,
        "formats": feature.formats,
        "rows": feature.rows,
        "parts": feature.parts,
        "parts_missing": feature.missing,
        "bytes_missing": feature.bytes_missing,
        "rows_of_other_revisions": feature.moved.num_rows,
        "others": {key: list(fields) for key, fields in feature.others.items()},
    }
