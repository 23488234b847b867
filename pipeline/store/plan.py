"""Planning: which arrays hold the rows somebody wants, and which of their parts are missing.

A plan is a pure function of the rows wanted and of what the store plans already, so two writers that plan the same work
create the same index and the same array, whichever comes first.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass

import pyarrow as pa

from ..errors import StoreError, StoreMismatch
from ..spec import FeatureSpec, Per, differences, sha256_json
from .array import ArrayRef, load_array
from .commit import make_folders
from .format import ArrayMeta
from .index import canonical, index_id, row_key, write_index
from .int8 import ChannelScale
from .layout import PART_ROWS, part_range
from .skipped import EpisodeId, Skipped, holds_skipped, read_skipped
from .store import FeatureStore

_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True, eq=False)
class ArrayPlan:
    """One array that holds rows somebody wants.

    Args:
        index_id: the index of its rows.
        spec: the feature.
        table: all rows of that index, in order; row i of the array belongs to row i of the table.
        missing: parts that hold a wanted row and have no receipt, in order.
        num_parts: parts of the whole array.
        store_format: the format of its files.
        part_rows: rows a part; the last part may have fewer.
        channel_scale: what the numbers of an ``int8`` array are multiplied with.
        wanted: parts that hold a wanted row, finished or not, in order.
    """

    index_id: str
    spec: FeatureSpec
    table: pa.Table
    missing: tuple[int, ...]
    num_parts: int
    store_format: str = "zarr"
    part_rows: int = PART_ROWS
    channel_scale: ChannelScale | None = None
    wanted: tuple[int, ...] = ()

    def part_range(self, part: int) -> range:
        """The rows of one part."""
        return part_range(part, self.table.num_rows, self.part_rows)

    def part_table(self, part: int) -> pa.Table:
        """The index rows of one part."""
        rows = self.part_range(part)
        return self.table.slice(rows.start, len(rows))

    @property
    def bytes_missing(self) -> int:
        """Bytes of numbers that the missing parts will hold."""
        return sum(len(self.part_range(part)) for part in self.missing) * self.spec.row_bytes


def plan_array(
    store: FeatureStore,
    spec: FeatureSpec,
    rows: pa.Table,
    *,
    dry: bool = False,
    same_pixels: pa.Table | None = None,
    store_format: str = "zarr",
    codec: str = "none",
    channel_scale: ChannelScale | None = None,
    part_rows: int = PART_ROWS,
) -> list[ArrayPlan]:
    """Find the arrays that hold the wanted rows; make one new index and array for the rows that none plans yet.

    The rows of an unfinished part that holds an episode which was left out since (:mod:`.skipped`) are planned anew.
    A row is planned by an existing array of the same feature key if that array's index has the same repo_id,
    revision, episode, frame and camera (and instruction), whether its part is finished or not. When a dataset moved
    to a new revision, the rows in ``same_pixels`` count as planned under any revision.

    Args:
        store: where.
        spec: the feature.
        rows: frame rows, or query rows for a query feature, in any order.
        dry: plan only, write nothing.
        same_pixels: wanted rows whose frames were compared with the pixel hashes of :meth:`FeatureStore.frames`
            and are the same.
        store_format: the format of a new array.
        codec: the lossless codec of a new array.
        channel_scale: for the ``int8`` tier; must be the one of the arrays that are there.
        part_rows: rows a part of a new array.

    Returns:
        Plans by index id, the new one last. Empty if no row is wanted.

    Raises:
        StoreMismatch: the store has arrays of this key for another feature (tier, shape, layout, full fingerprint,
            channel scale), or somebody else is making the same array in another format.
        StoreError: rows that cannot be an index, or a format that cannot hold them.
    """
    wanted = canonical(rows, spec.per)
    waiting = dict.fromkeys(_identities(wanted, spec.per))
    if same_pixels is not None:
        for full in _identities(canonical(same_pixels, spec.per), spec.per):
            if full in waiting:
                del waiting[full]
                waiting[_any_revision(full)] = None
    plans: list[ArrayPlan] = []
    skipped = {one.episode: one for one in read_skipped(store.layout)}
    for array in _arrays_of(store, spec, channel_scale):
        table = store.index_table(array.index_id)
        left = _left_for_good(array, table, skipped)
        hits = [
            row
            for row, full in enumerate(_identities(table, spec.per))
            if row // array.meta.part_rows not in left and _take(waiting, full)
        ]
        if hits:
            plans.append(_plan(array, table, hits))
    new = [full in waiting or _any_revision(full) in waiting for full in _identities(wanted, spec.per)]
    if any(new):
        table = wanted.filter(pa.array(new)).combine_chunks()
        meta = ArrayMeta(spec, index_id(table), table.num_rows, part_rows, codec, channel_scale)
        plans.append(_plan_new(store, meta, table, dry=dry, store_format=store_format))
    return plans


def refuse_other(array: ArrayRef, spec: FeatureSpec, scale: ChannelScale | None) -> None:
    """StoreMismatch, field by field, if the array is of another feature or stores it in another way."""
    found = array.spec.to_json() | {"channel_scale": _told(array.meta.channel_scale)}
    expected = spec.to_json() | {"channel_scale": _told(scale)}
    if found != expected:
        raise StoreMismatch(
            f"{array.path} holds another feature",
            found=differences(found, expected),
            expected="the same feature, computed and stored in the same way",
            remedy="use another store",
        )


def _told(scale: ChannelScale | None) -> str:
    """A scale in one line: where it was measured, and a hash of its values."""
    return "none" if scale is None else f"{scale.measured_on} ({sha256_json(asdict(scale))[:12]})"


def _arrays_of(store: FeatureStore, spec: FeatureSpec, scale: ChannelScale | None) -> list[ArrayRef]:
    arrays = [array for array in store.arrays() if array.key == spec.key]
    for array in arrays:
        refuse_other(array, spec, scale)
    return arrays


def _identities(table: pa.Table, per: Per) -> Iterator[tuple[object, ...]]:
    """(revision, repo_id, episode_index, camera, frame_index[, instruction]) of every row."""
    names = ["revision", *row_key(per)]
    for batch in table.select(names).to_batches(max_chunksize=_ROWS_AT_ONCE):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _any_revision(identity: tuple[object, ...]) -> tuple[object, ...]:
    return (None, *identity[1:])


def _take(waiting: dict[tuple[object, ...], None], identity: tuple[object, ...]) -> bool:
    """Take a stored row off the list of wanted ones; says whether it was on it."""
    for key in (identity, _any_revision(identity)):
        if key in waiting:
            del waiting[key]
            return True
    return False


def _plan(array: ArrayRef, table: pa.Table, wanted_rows: Iterable[int]) -> ArrayPlan:
    wanted = sorted({row // array.meta.part_rows for row in wanted_rows})
    finished = set(array.finished_parts())
    missing = tuple(part for part in wanted if part not in finished)
    return ArrayPlan(
        array.index_id,
        array.spec,
        table,
        missing,
        array.num_parts,
        array.format_name,
        array.meta.part_rows,
        array.meta.channel_scale,
        tuple(wanted),
    )


def _left_for_good(array: ArrayRef, table: pa.Table, skipped: Mapping[EpisodeId, Skipped]) -> set[int]:
    """Parts that nobody will finish: they hold a row of an episode that was left out after they were planned."""
    if not skipped or not holds_skipped(table, skipped):
        return set()
    open_parts = sorted(set(range(array.num_parts)) - set(array.finished_parts()))
    ranges = {part: array.meta.part_range(part) for part in open_parts}
    return {part for part, rows in ranges.items() if holds_skipped(table.slice(rows.start, len(rows)), skipped)}


def _plan_new(store: FeatureStore, meta: ArrayMeta, table: pa.Table, *, dry: bool, store_format: str) -> ArrayPlan:
    spec = meta.spec
    if not meta.is_possible():
        size = f"{meta.rows} rows of {spec.shape}"
        raise StoreError(f"a store cannot hold {spec.name} ({spec.tier}, per {spec.per})", found=size)
    array = ArrayRef(store.layout, meta, store_format)
    array.format.refuse(meta)
    if not dry:
        write_index(store.layout, table)
        _claim(array)
        make_folders(store.layout.root, array.path)
        store.layout.commit(array.path / array.format.metadata_name, array.format.describe(meta))
        refuse_other(load_array(store.layout, array.index_id, array.path.name), spec, meta.channel_scale)
    return _plan(array, table, range(table.num_rows))


def _claim(array: ArrayRef) -> None:
    """Settle which format an array has before there is one; StoreMismatch if another writer chose another."""
    path = array.layout.claim_file(array.index_id, array.key)
    make_folders(array.layout.root, path.parent)
    found = array.layout.commit(path, (array.path.name + "\n").encode())
    if found != (array.path.name + "\n").encode():
        raise StoreMismatch(
            f"{array.layout.root} has these rows of {array.key} in another format",
            found=found.decode(errors="replace").strip(),
            expected=array.path.name,
            remedy="use the format that is there, or another store",
        )
