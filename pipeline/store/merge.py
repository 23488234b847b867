"""Merge: take the parts of other stores into one. What the target has stays; nothing is ever replaced."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import ConfigError, StoreCorrupt, StoreError, StoreMismatch
from ..spec import differences
from ..words import counted
from .array import ArrayRef
from .commit import commit_file, link_file, make_folders
from .files import read_file
from .index import row_key
from .layout import part_name
from .listing import readable_bytes
from .plan import refuse_other
from .receipt import MAX_PART_BYTES, Receipt, read_receipt, write_receipt
from .skipped import read_skipped, record_skipped
from .store import FeatureStore
from .verify import verify
from .writer import describe_part


@dataclass
class Merged:
    """What :func:`merge` did.

    Args:
        target: the store that has it all now.
        sources: the stores it came from.
        arrays: arrays that the target did not have.
        linked: parts that share their bytes on disk with a source.
        copied: parts whose bytes were copied.
        bytes: of all these parts.
        same: parts that the target had already, with the same bytes.
        different: parts that it had with other bytes; they stayed as they were.
    """

    target: Path
    sources: tuple[Path, ...]
    arrays: list[str] = field(default_factory=list)
    linked: int = 0
    copied: int = 0
    bytes: int = 0
    same: int = 0
    different: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Everything it says, as plain data."""
        said = {"target": str(self.target), "sources": [str(source) for source in self.sources]}
        counts = {"linked": self.linked, "copied": self.copied, "bytes": self.bytes, "same": self.same}
        return said | counts | {"arrays": self.arrays, "different": self.different}

    def render(self) -> str:
        """The same for people."""
        new, size = counted(self.linked + self.copied, "part"), readable_bytes(self.bytes)
        how = f" ({self.linked} linked, {self.copied} copied)" if self.linked + self.copied else ""
        lines = [f"{self.target}: {new} from {counted(len(self.sources), 'store')}, {size}{how}"]
        lines += [f"  new: {array}" for array in self.arrays]
        if self.same:
            lines.append(f"  {counted(self.same, 'part')} were there with the same bytes")
        if self.different:
            lines.append(f"  {counted(len(self.different), 'part')} were there with other bytes, and stayed:")
            lines += [f"    {label}" for label in self.different]
        return "\n".join(lines)


def merge(target: str | Path, sources: Sequence[str | Path], *, link: bool = True) -> Merged:
    """Take indexes, arrays and finished parts of other stores into ``target``, which is made if it is not there.

    Everything is checked before anything is written. Files are linked where the disk allows it, else copied, each
    create-only and its receipt last, so a merge that is interrupted is finished by the next one. Linked files share
    their bytes on disk with the source: they cost nothing, and damage to one is damage to both.

    Args:
        target: the store to fill.
        sources: the stores to take from; they are not changed.
        link: link files where the disk allows it; False copies every byte.

    Raises:
        ConfigError: a store is named twice.
        StoreMismatch: one key stands for different features, tiers or channel scales, or the same rows are stored in
            another format or codec; nothing was written.
        StoreError: a source is no store, is damaged as far as receipts and sizes can tell, or has rows that another
            index holds already; nothing was written.
        MachineError: the target cannot be written.
    """
    done = Merged(Path(target), tuple(map(Path, sources)))
    stores = [FeatureStore.open(source) for source in done.sources]
    known = FeatureStore.open(target) if os.path.lexists(Path(target) / "vtt.json") else None
    every = [*([known] if known else []), *stores]
    for store in every:
        if sum(os.path.samefile(store.path, other.path) for other in every) > 1:
            raise ConfigError(f"{store.path} is named twice", expected="a target, and other stores to take from")
        _refuse_damage(store)
    _refuse_contradictions(every)
    into = known or FeatureStore.create(target)
    for store in stores:
        record_skipped(into.layout, read_skipped(store.layout))
        for array in store.arrays():
            _take_array(store, into, array, done, link)
    return done


def _refuse_damage(store: FeatureStore) -> None:
    problems = verify(store.path).problems
    if problems:
        raise StoreCorrupt(
            f"{store.path} is damaged, so nothing was merged",
            found=f"{counted(len(problems), 'problem')}, the first: {problems[0].what} ({problems[0].path})",
            remedy="see `vtt store verify`, then `vtt store repair`",
        )


def _refuse_contradictions(stores: Sequence[FeatureStore]) -> None:
    seen: dict[str, list[tuple[FeatureStore, ArrayRef]]] = {}
    for store in stores:
        for array in store.arrays():
            others = seen.setdefault(array.key, [])
            if others:
                refuse_other(array, others[0][1].spec, others[0][1].meta.channel_scale)
            for other_store, other in others:
                if other.index_id == array.index_id:
                    _refuse_other_storage(array, other)
                elif other_store is not store:
                    _refuse_shared_rows(store, array, other_store, other)
            _refuse_other_claim(stores[0], array)
            others.append((store, array))


def _refuse_other_storage(array: ArrayRef, other: ArrayRef) -> None:
    said, expected = (
        {"format": one.format_name, "codec": one.meta.codec, "part_rows": one.meta.part_rows} for one in (array, other)
    )
    if said != expected:
        raise StoreMismatch(
            f"{array.layout.root} stores {array.key} (index {array.index_id}) in another way than {other.layout.root}",
            found=differences(said, expected),
            remedy="convert one of them with `vtt store convert`, then merge",
        )


def _refuse_other_claim(first: FeatureStore, array: ArrayRef) -> None:
    """A writer may be about to make the same array in another format."""
    path = first.layout.claim_file(array.index_id, array.key)
    if os.path.lexists(path):
        said = read_file(first.path, path).decode(errors="replace").strip()
        if said != array.path.name:
            raise StoreMismatch(f"{path} settles another format", found=said, expected=array.path.name)


def _refuse_shared_rows(store: FeatureStore, array: ArrayRef, other_store: FeatureStore, other: ArrayRef) -> None:
    """A row that two indexes hold would be in the merged feature twice."""
    columns = ["revision", *row_key(array.spec.per)]
    tables: list[pa.Table] = [
        one.index_table(ref.index_id).select(columns) for one, ref in ((store, array), (other_store, other))
    ]
    shared = tables[0].join(tables[1], keys=columns, join_type="inner", use_threads=False)
    if len(shared):
        raise StoreError(
            f"{store.path} and {other_store.path} both plan the same rows of {array.key}, in different indexes",
            found=f"{counted(len(shared), 'row')}, the first: {shared.slice(0, 1).to_pylist()[0]}",
            expected="the same index, or no row in common",
            remedy="extract from the start into one store, or from the same manifest into both",
        )


def _take_array(store: FeatureStore, into: FeatureStore, array: ArrayRef, done: Merged, link: bool) -> None:
    ours = ArrayRef(into.layout, array.meta, array.format_name)
    index, metadata = into.layout.index_file(array.index_id), array.format.metadata_name
    if not os.path.lexists(ours.path / metadata):
        done.arrays.append(f"{array.key} (index {array.index_id})")
    small = [
        (store.layout.index_file(array.index_id), index),
        (store.layout.claim_file(array.index_id, array.key), into.layout.claim_file(array.index_id, array.key)),
        (array.path / metadata, ours.path / metadata),
    ]
    for source, target in small:
        make_folders(into.path, target.parent)
        if not os.path.lexists(target):
            _put(store.path, source, target, link)
    into.index_table(array.index_id)  # proven to be the rows of its name, whoever put it there
    make_folders(into.path, ours.receipt_path(0).parent)
    for part in array.finished_parts():
        _take_part(array, ours, part, done, link)


def _take_part(array: ArrayRef, ours: ArrayRef, part: int, done: Merged, link: bool) -> None:
    receipt, path = read_receipt(array.layout.root, array.receipt_path(part)), ours.receipt_path(part)
    label = f"part {part_name(part)} of {ours.key} (index {ours.index_id})"
    if os.path.lexists(path):
        if read_receipt(ours.layout.root, path).describes_as(receipt):
            done.same += 1
        else:
            done.different.append(label)
        return
    files = _files(array, ours, part, receipt)
    linked = [_put(array.layout.root, *pair, link) for pair in files]
    written = write_receipt(path, _receipt_here(array, ours, part, receipt))
    for pair in files:  # a collector may have taken an older file of that name before it could see the receipt
        if not os.path.lexists(pair[1]):
            _put(array.layout.root, *pair, link)
    if not written.describes_as(receipt):
        done.different.append(label)
        return
    done.linked, done.copied = done.linked + linked[0], done.copied + (not linked[0])
    done.bytes += receipt.bytes


def _files(array: ArrayRef, ours: ArrayRef, part: int, receipt: Receipt) -> list[tuple[Path, Path]]:
    """(source, target) of a part's file and of its table of frames."""
    files = [(array.part_path(part), ours.part_path(part))]
    if receipt.frames_sha256 is not None:
        source, target = (ref.layout.frames_file(ref.index_id, ref.key, part) for ref in (array, ours))
        files.append((source, target))
    return files


def _receipt_here(array: ArrayRef, ours: ArrayRef, part: int, receipt: Receipt) -> Receipt:
    """The receipt of the files that stand in the target: the source's, unless a part without a receipt was there."""
    if all(os.path.samefile(*pair) for pair in _files(array, ours, part, receipt)):
        return receipt
    root, frames = ours.layout.root, None
    if receipt.frames_sha256 is not None:
        table = read_file(root, ours.layout.frames_file(ours.index_id, ours.key, part))
        frames = hashlib.sha256(table).hexdigest()
    data = read_file(root, ours.part_path(part), limit=MAX_PART_BYTES)
    return describe_part(ours, part, data, frames_sha256=frames, info=receipt.info)


def _put(root: Path, source: Path, target: Path, link: bool) -> bool:
    """Give a source's file a name in the target unless that is taken; says whether both share their bytes."""
    if not (link and link_file(source, target)):
        commit_file(target, read_file(root, source, limit=MAX_PART_BYTES))
    return os.path.samefile(source, target)
