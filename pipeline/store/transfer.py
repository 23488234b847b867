"""Copying whole parts from one store to another place: what ``push`` and ``pull`` do.

The rows' index and the array's metadata go first, a part's file before its receipt, and a receipt only for the bytes
that are there. So a copy that was interrupted is a store with fewer parts, and the same command goes on where it
stopped. Every part is compared with its receipt when it leaves and, coming from a remote place, when it arrives.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import batched
from typing import Any

from ..errors import StoreCorrupt, StoreError, StoreIncomplete, StoreMismatch
from .array import ArrayRef
from .files import read_file
from .index import MAX_INDEX_BYTES
from .listing import readable_bytes
from .mirror import Mirror
from .names import LIMITS, Kind
from .receipt import Receipt, parse_receipt, receipt_text
from .remote import Remote
from .schema import SCHEMA_TEXT, refuse_other_schema
from .selection import Parcel
from .skipped import read_skipped, skipped_text
from .writer import describe_part

THREADS = 4
CARD = "README.md"


@dataclass(frozen=True)
class Copied:
    """What a copy did, or would do.

    Args:
        source: where from.
        target: where to.
        parcels: what was selected, an entry an array.
        parts_copied: parts that were not there; None for a plan.
        parts_there: parts that were there already.
        parts_kept: of those, how many were made elsewhere with other bytes; they stay.
        files: small files and parts in all.
        bytes: of the parts.
        card: the text of the dataset card, if one belongs there.
        card_written: whether it was written.
    """

    source: str
    target: str
    parcels: tuple[Parcel, ...]
    files: int
    parts_copied: int | None = None
    parts_there: int = 0
    parts_kept: int = 0
    card: str | None = None
    card_written: bool = False

    @property
    def bytes(self) -> int:
        """Bytes of all the parts' files."""
        return sum(parcel.bytes for parcel in self.parcels)

    def to_json(self) -> dict[str, Any]:
        """Everything it says, as plain data."""
        own = {name: getattr(self, name) for name in ("source", "target", "files", "bytes", "card", "card_written")}
        parts = {name: getattr(self, name) for name in ("parts_copied", "parts_there", "parts_kept")}
        return own | parts | {"arrays": [parcel.to_json() for parcel in self.parcels]}

    def render(self) -> str:
        """The same for people."""
        size = readable_bytes(self.bytes)
        lines = [f"{self.source} -> {self.target}: {self.files} files, {size} in parts"]
        for parcel in self.parcels:
            extra = parcel.rows - parcel.rows_selected
            also = f", {extra} more rows because only whole parts move" if extra else ""
            left = f"; {parcel.parts_missing} parts are not finished" if parcel.parts_missing else ""
            lines.append(
                f"  {parcel.array.key}  {parcel.rows_selected} rows selected in {len(parcel.receipts)} parts{also}, "
                f"{readable_bytes(parcel.bytes)}{left}"
            )
        if self.parts_copied is None:
            return "\n".join([*lines, "nothing was copied (dry run)", *(["", self.card] if self.card else [])])
        kept = f" ({self.parts_kept} of them made elsewhere with other bytes: kept)" if self.parts_kept else ""
        return "\n".join([*lines, f"{self.parts_copied} parts copied, {self.parts_there} were there{kept}"])


def plan_copy(parcels: Sequence[Parcel], source: str, target: str) -> Copied:
    """What :func:`copy_parts` would do to a place that has nothing; asks nobody."""
    files = len(dict(_small_files(parcels)))
    for parcel in parcels:
        files += sum(3 if receipt.frames_sha256 else 2 for receipt in parcel.receipts.values())
    return Copied(source, target, tuple(parcels), files)


def copy_parts(parcels: Sequence[Parcel], source: str, target: Remote, *, tick: Callable[[int], None]) -> Copied:
    """Copy the parcels' parts that are not there.

    Args:
        parcels: from :func:`.selection.select`.
        source: where they are, for people.
        target: the place.
        tick: called with the bytes of every part that is done.

    Raises:
        StoreError: the place holds something else than a store; StoreMismatch: it holds these rows of a feature in
            another format, tier or by another computation.
        StoreCorrupt: a part here, or a receipt there, is not what it should be.
    """
    plan, there = plan_copy(parcels, source, target.url), target.files()
    _refuse_strangers(target, there)
    _put_small_files(parcels, target, there)
    todo = [(parcel.array, part, receipt) for parcel in parcels for part, receipt in parcel.receipts.items()]
    waiting = [item for item in todo if _name(item[0], item[0].receipt_path(item[1])) not in there]
    kept = sum(_differs(target, item) for item in todo if item not in waiting)
    with ThreadPoolExecutor(THREADS if target.batch == 1 else 1) as pool:
        for size in pool.map(lambda batch: _copy_batch(target, batch), batched(waiting, target.batch)):
            tick(size)
    return Copied(source, target.url, plan.parcels, plan.files, len(waiting), len(todo) - len(waiting), kept)


def part_bytes(array: ArrayRef, part: int, receipt: Receipt) -> bytes:
    """The bytes of a part, proven by its receipt; of a remote store without leaving them in the local copy.

    Raises:
        StoreIncomplete, StoreCorrupt: there are none, or others.
    """
    path, root = array.part_path(part), array.layout.root
    try:
        data = read_file(root, path, limit=receipt.bytes)
        if hashlib.sha256(data).hexdigest() == receipt.sha256:
            return data
    except (StoreIncomplete, StoreCorrupt):
        if array.layout.remote is None:
            raise
    if isinstance(array.layout.remote, Mirror):
        return array.layout.remote.fetch(path, receipt.bytes, receipt.sha256)
    raise StoreCorrupt(f"{path} is not what its receipt says", expected=receipt.sha256, remedy="repair the store")


def _put_small_files(parcels: Sequence[Parcel], target: Remote, there: Iterable[str]) -> None:
    """Create what parts rest on; what is there already is compared before anything is created."""
    ours, listed = dict(_small_files(parcels)), set(there)
    for name in ours.keys() & listed:
        _refuse_other(target, name, ours[name], target.get(name, limit=MAX_INDEX_BYTES))
    for name, data in target.put(ours.items()).items():
        _refuse_other(target, name, ours[name], data)


def _refuse_other(target: Remote, name: str, ours: bytes, theirs: bytes) -> None:
    if theirs == ours or name.startswith("indexes/"):  # the same rows may be written as parquet in more than one way
        return
    raise StoreMismatch(
        f"{target.url} has these rows in another way",
        found=f"{name}: {theirs[:80]!r}",
        expected="the same format, tier and computation",
        remedy="use another place",
    )


def _copy_batch(target: Remote, batch: Sequence[tuple[ArrayRef, int, Receipt]]) -> int:
    """Files first, then the receipts of what is there."""
    others = target.put(file for item in batch for file in _files(*item))
    target.put(_receipt(others, *item) for item in batch)
    return sum(receipt.bytes for _, _, receipt in batch)


def _files(array: ArrayRef, part: int, receipt: Receipt) -> Iterator[tuple[str, bytes]]:
    yield _name(array, array.part_path(part)), part_bytes(array, part, receipt)
    if receipt.frames_sha256 is not None:
        path = array.layout.frames_file(array.index_id, array.key, part)
        data = read_file(array.layout.root, path)
        if hashlib.sha256(data).hexdigest() != receipt.frames_sha256:
            raise StoreCorrupt(f"{path} is not the table its receipt names", remedy="repair the store")
        yield _name(array, path), data


def _receipt(others: dict[str, bytes], array: ArrayRef, part: int, receipt: Receipt) -> tuple[str, bytes]:
    """The receipt of the bytes that are there: ours, or one for those of a writer who was faster."""
    file = _name(array, array.part_path(part))
    frames = _name(array, array.layout.frames_file(array.index_id, array.key, part))
    sha256 = hashlib.sha256(others[frames]).hexdigest() if frames in others else receipt.frames_sha256
    if file in others:
        receipt = describe_part(array, part, others[file], frames_sha256=sha256, info=receipt.info)
    elif frames in others:
        receipt = receipt.model_copy(update={"frames_sha256": sha256})
    return _name(array, array.receipt_path(part)), receipt_text(receipt)


def _differs(target: Remote, item: tuple[ArrayRef, int, Receipt]) -> bool:
    array, part, receipt = item
    name = _name(array, array.receipt_path(part))
    data = target.get(name, limit=LIMITS[Kind.RECEIPT])
    return not parse_receipt(f"{target.url}/{name}", data).describes_as(receipt)


def _small_files(parcels: Sequence[Parcel]) -> Iterator[tuple[str, bytes]]:
    """What parts rest on, in the order in which it is created."""
    yield "vtt.json", SCHEMA_TEXT.encode()
    for layout in {parcel.array.layout.root: parcel.array.layout for parcel in parcels}.values():
        for one in read_skipped(layout):
            yield layout.skipped_file(one.name).relative_to(layout.root).as_posix(), skipped_text(one)
    for array in [parcel.array for parcel in parcels]:
        layout = array.layout
        claim = (array.path.name + "\n").encode()
        index = layout.index_file(array.index_id)
        yield _name(array, index), read_file(layout.root, index, limit=LIMITS[Kind.INDEX])
        yield _name(array, layout.claim_file(array.index_id, array.key)), claim
        yield _name(array, array.path / array.format.metadata_name), array.format.describe(array.meta)


def _refuse_strangers(target: Remote, there: Iterable[str]) -> None:
    """StoreError if the place holds files but no store, or one that this release cannot write."""
    if "vtt.json" in there:
        refuse_other_schema(target.url, target.get("vtt.json", limit=LIMITS[Kind.SCHEMA]))
        return
    names = sorted({name.partition("/")[0] for name in there if not name.startswith(".")} - {CARD})
    if names:
        raise StoreError(f"{target.url} is not empty and no feature store", found=names[:5])


def _name(array: ArrayRef, path: Any) -> str:
    name: str = path.relative_to(array.layout.root).as_posix()
    return name
