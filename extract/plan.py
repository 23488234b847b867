"""What an extraction would do: rows, parts, bytes, space; before any weights load."""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from ..pipeline.errors import ConfigError, StoreMismatch
from ..pipeline.place import Place, folder_of
from ..pipeline.spec import FeatureSpec, differences
from ..pipeline.store import ArrayPlan, FeatureStore, plan_array
from ..pipeline.store.skipped import Skipped
from ..pipeline.store.store import is_there
from .config import ExtractConfig
from .dataset import Dataset, open_dataset
from .described import Described, describe_backbones
from .revisions import moved_rows, unchanged_rows
from .share import take_share

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
        """Parts that hold a row asked for, finished or not."""
        return sum(len(plan.wanted) for plan in self.arrays)

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
    backbones: tuple[Described, ...]
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
    def missing(self) -> frozenset[str]:
        """Features (by key) of which something is left to make."""
        return frozenset(feature.spec.key for feature in self.features if feature.missing)

    @property
    def bytes_missing(self) -> int:
        """Bytes the extraction will write."""
        return sum(feature.bytes_missing for feature in self.features)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to extract."""
        return all(feature.missing == 0 for feature in self.features)


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
        dataset = dataset.without(_named(dataset, config.without_episodes or ()))
    described = describe_backbones(config, dataset.frame_size)
    specs = [spec for one in described for spec in one.specs]
    store = open_if_there(config.store)
    known = store.features()
    for name, expected in config.expect_fingerprint.items():
        _require_fingerprint(name, [spec for spec in specs if spec.name == name], expected, known)
    features = tuple(_plan_feature(spec, dataset, store, known, config.store_format) for spec in specs)
    return of_share(ExtractionPlan(config, dataset, described, features, _free_bytes(config.store)))


def _named(dataset: Dataset, episodes: Iterable[int]) -> list[Skipped]:
    repo_id, revision = dataset.source.repo_id, dataset.source.revision
    return [
        Skipped(repo_id=repo_id, revision=revision, episode_index=episode, reason="left out by name")
        for episode in episodes
    ]


def open_if_there(place: Place) -> FeatureStore:
    """The store at a place, or one without features where there is none yet.

    In a folder with nothing visible in it another worker may be making the store at this moment.

    Raises:
        StoreError: the folder holds something else.
    """
    there = is_there(place)
    if there and isinstance(place, Path) and place.is_dir():
        there = any(not entry.name.startswith(".") for entry in place.iterdir())
    return FeatureStore.open(place) if there else FeatureStore(place)


def compare_revisions(planned: ExtractionPlan, beat: Callable[[int], None] = lambda _: None) -> ExtractionPlan:
    """The same plan after comparing the pixels of rows that stand in the store under another revision.

    ``beat(0)`` is called for every frame that is compared.

    Raises:
        DatasetError: a frame cannot be decoded.
    """
    if not any(feature.moved.num_rows for feature in planned.features):
        return planned
    store = FeatureStore.open(planned.config.store)
    same = unchanged_rows(store, planned.dataset, {feature.spec: feature.moved for feature in planned.features}, beat)
    features = []
    for feature in planned.features:
        kept, rows = same[feature.spec], planned.dataset.rows(feature.spec.per)
        arrays = plan_array(
            store, feature.spec, rows, dry=True, same_pixels=kept, store_format=planned.config.store_format
        )
        features.append(replace(feature, arrays=tuple(arrays), moved=kept))
    return of_share(replace(planned, features=tuple(features)))


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


def of_share(planned: ExtractionPlan) -> ExtractionPlan:
    """The part of the plan that ``config.part`` names; all of it if that is None."""
    if planned.config.part is None:
        return planned
    kept = iter(take_share([plan for feature in planned.features for plan in feature.arrays], planned.config.part))
    features = []
    for feature in planned.features:
        arrays = tuple(next(kept) for _ in feature.arrays)
        rows = sum(len(plan.part_range(part)) for plan in arrays for part in plan.wanted)
        features.append(replace(feature, arrays=arrays, rows=rows))
    return replace(planned, features=tuple(features))


def _require_fingerprint(
    name: str, specs: Sequence[FeatureSpec], expected: str, known: Mapping[str, FeatureSpec]
) -> None:
    """One of the features of that name must have the fingerprint."""
    if any(expected and spec.fingerprint.startswith(expected) for spec in specs):
        return
    if not specs:
        raise ConfigError("expect_fingerprint names a feature that is not extracted", found=name)
    stored = next((other for other in known.values() if other.fingerprint.startswith(expected)), None)
    if stored is None or stored.name != name:
        found: object = [spec.fingerprint for spec in specs]
    else:
        found = differences(specs[0].to_json()["compute"], stored.to_json()["compute"])
    raise StoreMismatch(
        f"{name} would not be computed as expected",
        found=found,
        expected=f"fingerprint {expected}",
        remedy="use the checkpoint, dtype and image settings that made the expected feature",
    )


def _free_bytes(store: Place) -> int:
    place = folder_of(store).absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
