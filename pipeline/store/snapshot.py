"""Snapshots: numbered lists of what a store held, sealed once and never changed.

A snapshot names the indexes, the arrays and every finished part with its size and sha256. Committing a part depends on
none; a snapshot is what a paper or a colleague can be pointed to, and what garbage collection keeps.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import StoreCorrupt, StoreError, StoreIncomplete
from ..spec import canonical_json, sha256_json
from ..words import counted
from .array import ArrayRef
from .commit import commit_file, make_folders
from .evidence import check_part
from .files import entries, read_file
from .format import FORMATS
from .layout import MAX_PART_ROWS, MAX_PARTS, SCHEMA, Layout, part_count, part_name
from .listing import readable_bytes
from .receipt import MAX_PART_BYTES, Sha256
from .store import FeatureStore
from .survey import Slot, survey

SNAPSHOT_NAME = re.compile(r"[0-9]{4}")
MAX_SNAPSHOTS = 9999
MAX_SNAPSHOT_BYTES = 256 << 20

_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)
_IndexId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class SealedPart(BaseModel):
    """One finished part: its number, and the size and hash of its file and of its table of frames."""

    model_config = _STRICT

    part: Annotated[int, Field(ge=0, lt=MAX_PARTS)]
    bytes: Annotated[int, Field(ge=1, le=MAX_PART_BYTES)]
    sha256: Sha256
    frames_sha256: Sha256 | None


class SealedArray(BaseModel):
    """One array: what it is of, how it is stored, and its finished parts in order."""

    model_config = _STRICT

    index_id: _IndexId
    feature: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}-[0-9a-f]{8}$")]
    format: Annotated[str, Field(max_length=32)]
    metadata_sha256: Sha256
    rows: Annotated[int, Field(ge=1, le=MAX_PARTS * MAX_PART_ROWS)]
    part_rows: Annotated[int, Field(ge=1, le=MAX_PART_ROWS)]
    complete: bool
    parts: Annotated[tuple[SealedPart, ...], Field(max_length=MAX_PARTS, strict=False)]

    @model_validator(mode="after")
    def _parts_are_possible(self) -> Self:
        if self.format not in FORMATS:
            raise ValueError("a format that is not known")
        numbers, planned = [part.part for part in self.parts], part_count(self.rows, self.part_rows)
        if numbers != sorted(set(numbers)) or (numbers and numbers[-1] >= planned):
            raise ValueError("parts must be in order, each once, none behind the last row")
        if self.complete != (len(numbers) == planned):
            raise ValueError("complete must say whether every part is there")
        return self


class Snapshot(BaseModel):
    """What a store held when it was sealed; ``indexes`` are all ids that its arrays use."""

    model_config = _STRICT

    schema_version: Annotated[int, Field(ge=1, le=SCHEMA)]
    number: Annotated[int, Field(ge=1, le=MAX_SNAPSHOTS)]
    indexes: Annotated[tuple[_IndexId, ...], Field(max_length=MAX_PARTS, strict=False)]
    arrays: Annotated[tuple[SealedArray, ...], Field(max_length=MAX_PARTS, strict=False)]

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        names = [(array.feature, array.index_id) for array in self.arrays]
        if names != sorted(set(names)) or list(self.indexes) != sorted({index_id for _, index_id in names}):
            raise ValueError("arrays must be in order, each once, and indexes must be theirs")
        return self

    @property
    def complete(self) -> bool:
        """Whether every array was complete."""
        return all(array.complete for array in self.arrays)

    def parts(self) -> Iterator[tuple[str, str, SealedPart]]:
        """(index id, feature key, part) of every part it names."""
        return ((array.index_id, array.feature, part) for array in self.arrays for part in array.parts)

    def to_json(self) -> dict[str, Any]:
        """Everything it says, as plain data."""
        plain: dict[str, Any] = json.loads(self.model_dump_json())
        return plain | {"complete": self.complete}

    def render(self) -> str:
        """What it names, for people."""
        lines = [f"snapshot {snapshot_name(self.number)}: {'complete' if self.complete else 'partly extracted'}"]
        for array in self.arrays:
            planned, size = part_count(array.rows, array.part_rows), sum(part.bytes for part in array.parts)
            state = f"{len(array.parts)} of {counted(planned, 'part')}, {readable_bytes(size)}"
            lines.append(f"  {array.feature}  index {array.index_id}  {array.format}  {state}")
        return "\n".join(lines)


def seal(path: str | Path) -> Snapshot:
    """Write down what a store holds, under the next free number; the last snapshot if it says the same.

    Raises:
        StoreIncomplete: no part is finished.
        StoreCorrupt: something is damaged, as far as receipts and sizes can tell.
        MachineError: the store cannot be written.
    """
    layout = FeatureStore.open(path).layout
    arrays = tuple(_sealed(slot) for slot in survey(layout) if slot.array is not None or slot.receipts)
    if not any(array.parts for array in arrays):
        raise StoreIncomplete(f"{layout.root} has no finished part to seal", remedy="extract something first")
    known = read_snapshots(layout)
    if known and known[-1].arrays == arrays:
        return known[-1]
    indexes = tuple(sorted({array.index_id for array in arrays}))
    make_folders(layout.root, layout.snapshots)
    for number in range(_next_number(layout), MAX_SNAPSHOTS + 1):
        snapshot = Snapshot(schema_version=SCHEMA, number=number, indexes=indexes, arrays=arrays)
        if commit_file(snapshot_file(layout, number), _text(snapshot)) == _text(snapshot):
            return snapshot
    raise StoreError(f"{layout.root} has {MAX_SNAPSHOTS} snapshots, which is all there can be")


def read_snapshots(layout: Layout) -> list[Snapshot]:
    """Every snapshot by number; StoreCorrupt if one is damaged."""
    return [read_snapshot(layout, number) for number in snapshot_numbers(layout)]


def read_snapshot(layout: Layout, number: int) -> Snapshot:
    """One snapshot.

    Raises:
        StoreIncomplete: there is none.
        StoreCorrupt: its bytes are not what was written.
    """
    path = snapshot_file(layout, number)
    data = read_file(layout.root, path, limit=MAX_SNAPSHOT_BYTES)
    try:
        fields = json.loads(data)
        fields.pop("checksum")
        snapshot = Snapshot.model_validate(fields)
        intact = _text(snapshot) == data and snapshot.number == number
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ValidationError) as error:
        raise StoreCorrupt(f"{path} is not a snapshot", found=type(error).__name__) from error
    if not intact:
        raise StoreCorrupt(f"{path} was changed after it was written", remedy="repair the store")
    return snapshot


def snapshot_numbers(layout: Layout) -> list[int]:
    """The numbers there are, readable or not."""
    return [int(name) for name in entries(layout.snapshots, SNAPSHOT_NAME, ".json") if int(name)]


def snapshot_name(number: int) -> str:
    """Four digits: snapshot 7 is "0007"."""
    return f"{number:04d}"


def snapshot_file(layout: Layout, number: int) -> Path:
    """The file of one snapshot."""
    return layout.snapshots / f"{snapshot_name(number)}.json"


def _next_number(layout: Layout) -> int:
    """One above every number ever given here, quarantined snapshots included: a number never means two things."""
    taken = entries(layout.quarantine / "snapshots", re.compile(r"[0-9]{4}.*"), "")
    return max([0, *snapshot_numbers(layout), *(int(name[:4]) for name in taken)]) + 1


def _sealed(slot: Slot) -> SealedArray:
    if slot.problems or slot.array is None:
        found = (
            f"{slot.problems[0].what} ({slot.problems[0].path})" if slot.problems else "its metadata is in quarantine"
        )
        raise _damaged(slot, found)
    parts = []
    for part, receipt in slot.receipts.items():
        assert receipt is not None  # a damaged one is among the problems
        problem = check_part(slot, part, receipt)
        if problem is not None:
            raise _damaged(slot, f"part {part_name(part)}: {problem.what} ({problem.path})")
        parts.append(
            SealedPart(part=part, bytes=receipt.bytes, sha256=receipt.sha256, frames_sha256=receipt.frames_sha256)
        )
    return SealedArray(
        index_id=slot.index_id,
        feature=slot.key,
        format=slot.format_name,
        metadata_sha256=metadata_sha256(slot.array),
        rows=slot.array.rows,
        part_rows=slot.array.meta.part_rows,
        complete=len(parts) == slot.array.num_parts,
        parts=tuple(parts),
    )


def metadata_sha256(array: ArrayRef) -> str:
    """The sha256 of an array's metadata file, which is the same text wherever it is written."""
    return hashlib.sha256(array.format.describe(array.meta)).hexdigest()


def _damaged(slot: Slot, found: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"{slot.layout.root} is damaged and cannot be sealed",
        found=f"{slot.key} (index {slot.index_id}): {found}",
        remedy="see `vtt store verify`, then `vtt store repair`",
    )


def _text(snapshot: Snapshot) -> bytes:
    fields = json.loads(snapshot.model_dump_json())
    return (canonical_json(fields | {"checksum": sha256_json(fields)}) + "\n").encode()
