"""What a conversion is asked for, what it would do, and what it did."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError, StoreError, StoreIncomplete, StoreMismatch
from ..spec import FeatureSpec
from ..words import counted
from .array import ArrayRef
from .format import load_format
from .int8 import ChannelScale
from .layout import part_name
from .listing import readable_bytes
from .plan import ArrayPlan, plan_array, refuse_other
from .store import FeatureStore
from .tiers import refuse_tiers

PART_OVERHEAD = 16384  # bytes of a part's receipt, table of frames and shard index, rounded up


@dataclass(frozen=True)
class Target:
    """How the numbers are to be stored."""

    store_format: Literal["zarr", "hdf5"] = "zarr"
    """The format of the files."""
    tier: Literal["same", "int8", "bf16", "fp32"] = "same"
    """The storage tier; ``same`` keeps each feature's own, bit for bit."""
    codec: Literal["none", "bitshuffle-zstd"] = "none"
    """The lossless compression; Zarr only."""

    def spec(self, source: FeatureSpec) -> FeatureSpec:
        """A source's feature as it is to be stored. Raises StoreError if that tier cannot be made from its own."""
        tier = source.tier if self.tier == "same" else self.tier
        refuse_tiers(source.tier, tier)
        return replace(source, tier=tier)


@dataclass(frozen=True, eq=False)
class Job:
    """One array to convert.

    Args:
        array: the source.
        plan: the array it becomes: the same rows, the same parts.
        todo: parts the source has and the target has not, in order.
    """

    array: ArrayRef
    plan: ArrayPlan
    todo: tuple[int, ...]

    @property
    def bytes_needed(self) -> int:
        """Bytes that the missing parts take at most; a lossless codec takes less."""
        rows = sum(len(self.plan.part_range(part)) for part in self.todo)
        return rows * self.plan.spec.row_bytes + PART_OVERHEAD * len(self.todo)


@dataclass(frozen=True, eq=False)
class Conversion:
    """What is to be done, array by array."""

    source: FeatureStore
    path: Path
    """The target's folder."""
    target: Target
    jobs: tuple[Job, ...]
    free_bytes: int
    """Free space on the target's disk, now."""

    @property
    def bytes_needed(self) -> int:
        """Bytes that all missing parts take at most."""
        return sum(job.bytes_needed for job in self.jobs)


@dataclass(frozen=True)
class ConvertedFeature:
    """One feature after a conversion.

    Args:
        key: ``<feature>-<fp8>``.
        source_tier, tier: before and after.
        rows: of all its parts, converted or not.
        parts_written: parts this conversion committed.
        parts_reused: parts that were there already.
        parts_left: parts the source has not got itself (``--allow-partial``).
        bytes_read, bytes_written: of the parts committed now, as their receipts say.
        scale: what the scale of an int8 array was measured on.
    """

    key: str
    source_tier: str
    tier: str
    rows: int
    parts_written: int
    parts_reused: int
    parts_left: int
    bytes_read: int
    bytes_written: int
    scale: str | None

    def render(self) -> str:
        """One line for people, two with a scale."""
        tier = self.tier if self.tier == self.source_tier else f"{self.source_tier} -> {self.tier}"
        line = f"  {self.key}  {tier}  {self.rows} rows, "
        line += f"{counted(self.parts_written, 'part')} written, {self.parts_reused} were there"
        if self.parts_left:
            line += f", {self.parts_left} are not in the source"
        if self.bytes_read:
            line += f", {readable_bytes(self.bytes_read)} -> {readable_bytes(self.bytes_written)}"
        return line + (f"\n    scale measured on {self.scale}" if self.scale else "")


@dataclass(frozen=True)
class Converted:
    """What a conversion did."""

    source: Path
    store: Path
    target: Target
    features: tuple[ConvertedFeature, ...]
    seconds: float

    @property
    def parts_written(self) -> int:
        """Parts committed by this conversion."""
        return sum(feature.parts_written for feature in self.features)

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return asdict(self) | {"source": str(self.source), "store": str(self.store)}

    def render(self) -> str:
        """The same as text for people."""
        codec = "" if self.target.codec == "none" else f", {self.target.codec}"
        title = f"{self.source} -> {self.store} ({self.target.store_format}{codec})"
        if not self.parts_written:
            title += ": nothing to convert"
        return "\n".join([title, *(feature.render() for feature in self.features), f"  {self.seconds:.1f} s"])


def refuse_same_place(source: Path, target: Path) -> None:
    """StoreError if one store would lie inside the other, or be the other."""
    a, b = Path(os.path.realpath(source)), Path(os.path.realpath(target))
    if a == b or a in b.parents or b in a.parents:
        raise StoreError(
            "a store cannot be converted into itself, nor into a folder inside or around it",
            found=[source, target],
            remedy="name another folder; the source is never changed",
        )


def open_target(path: Path) -> FeatureStore:
    """The target as it is: a store, or one that is not there yet (nothing is written)."""
    empty = not path.exists() or (path.is_dir() and not any(path.iterdir()))
    return FeatureStore(path) if empty else FeatureStore.open(path)


def choose_arrays(source: FeatureStore, features: Sequence[str], *, allow_partial: bool) -> list[ArrayRef]:
    """The source's arrays of the features asked for, all if none is named.

    Raises:
        ConfigError: no such feature, several of that name, or nothing in the store.
        StoreIncomplete: parts are missing, unless ``allow_partial``.
    """
    keys = {source.resolve(name) for name in features} or set(source.features())
    arrays = [array for array in source.arrays() if array.key in keys]
    if not arrays:
        raise ConfigError(f"{source.path} holds no feature to convert")
    for array in arrays:
        missing = sorted(set(range(array.num_parts)) - set(array.finished_parts()))
        if missing and not allow_partial:
            raise StoreIncomplete(
                f"{array.key} in {source.path} is not finished",
                found=f"{array.num_parts - len(missing)} of {array.num_parts} parts, the first missing one is "
                f"{part_name(missing[0])}",
                remedy="finish the extraction, or convert what is there with --allow-partial",
            )
    return arrays


def known_scales(store: FeatureStore, arrays: Iterable[ArrayRef], target: Target) -> dict[str, ChannelScale | None]:
    """The scale of every feature that the target holds already, by key (None outside int8).

    Raises:
        StoreError: a tier, or a format and codec, that cannot be.
        StoreMismatch: the target holds the feature in another tier, format or codec.
    """
    wanted = {array.key: array for array in arrays}
    for array in wanted.values():
        spec = target.spec(array.spec)
        load_format(target.store_format).refuse(replace(array.meta, spec=spec, codec=target.codec))
    found: dict[str, ChannelScale | None] = {}
    for there in store.arrays():
        if there.key in wanted:
            refuse_other(there, target.spec(wanted[there.key].spec), there.meta.channel_scale)
            _refuse_other_files(there, target)
            found[there.key] = there.meta.channel_scale
    return found


def plan_jobs(
    source: FeatureStore,
    store: FeatureStore,
    arrays: Sequence[ArrayRef],
    target: Target,
    scales: Mapping[str, ChannelScale | None],
    *,
    dry: bool,
) -> tuple[Job, ...]:
    """One job an array; unless ``dry``, the arrays are there afterwards.

    Raises:
        StoreMismatch: the target holds something else under these names, or some of these rows under another index.
    """
    return tuple(_plan(source, store, array, target, scales.get(array.key), dry=dry) for array in arrays)


def _plan(
    source: FeatureStore,
    store: FeatureStore,
    array: ArrayRef,
    target: Target,
    scale: ChannelScale | None,
    *,
    dry: bool,
) -> Job:
    plans = plan_array(
        store,
        target.spec(array.spec),
        source.index_table(array.index_id),
        dry=dry,
        store_format=target.store_format,
        codec=target.codec,
        channel_scale=scale,
        part_rows=array.meta.part_rows,
    )
    if [plan.index_id for plan in plans] != [array.index_id] or plans[0].part_rows != array.meta.part_rows:
        raise StoreMismatch(
            f"{store.path} holds some rows of {array.key} under another index",
            found=[plan.index_id for plan in plans],
            expected=array.index_id,
            remedy="convert into another store",
        )
    finished = set(array.finished_parts())
    return Job(array, plans[0], tuple(part for part in plans[0].missing if part in finished))


def _refuse_other_files(there: ArrayRef, target: Target) -> None:
    found, expected = (there.format_name, there.meta.codec), (target.store_format, target.codec)
    if found != expected:
        raise StoreMismatch(
            f"{there.path} holds this feature in other files",
            found="format {}, codec {}".format(*found),
            expected="format {}, codec {}".format(*expected),
            remedy="ask for the ones that are there, or convert into another store",
        )
