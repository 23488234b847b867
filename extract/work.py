"""Which batches have to be computed, and where every number of them goes.

Batches are cut at fixed multiples of the batch size in the frame table's order, whatever is stored already, and a
batch is always computed whole: its numbers do not depend on where an earlier run stopped. The queries of a batch's
frames follow in the query table's order, cut the same way.

Batches are made one by one when their turn comes: what is held of the whole dataset is some integers a row.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int

from ..pipeline.store import ArrayPlan
from .frames import FrameCodes, FrameId, frame_ids, instructions

__all__ = ["Batch", "FrameId", "Key", "Place", "Query", "Work", "frame_ids", "instructions", "query_chunks", "schedule"]


class Place(NamedTuple):
    """A row of one of the arrays being filled."""

    array: int
    row: int


class Query(NamedTuple):
    """An instruction about the frame at ``position`` in its batch."""

    position: int
    instruction: str


class Key(NamedTuple):
    """What a row holds: one feature (``<name>-<fp8>``) of one frame, or of one query (then with its instruction)."""

    feature: str
    frame: FrameId
    instruction: str | None


@dataclass(frozen=True)
class Batch:
    """Frames that run through the vision tower together, their queries, and where their missing rows belong."""

    frames: tuple[FrameId, ...]
    queries: tuple[Query, ...]
    places: Mapping[Key, Sequence[Place]] = field(default_factory=dict)

    def lacks(self, feature: str) -> bool:
        """Whether a row of a feature that belongs to frames is missing."""
        return any(Key(feature, frame, None) in self.places for frame in self.frames)


@dataclass(frozen=True)
class Work:
    """The batches that hold a missing row, in order."""

    arrays: tuple[ArrayPlan, ...]
    batches: Sequence[Batch]
    frames: int
    """Frames to decode and to run."""


def schedule(arrays: Sequence[ArrayPlan], frames: pa.Table, queries: pa.Table | None, batch_size: int) -> Work:
    """Lay out what is missing in ``arrays``.

    Args:
        arrays: the arrays that hold wanted rows, with their missing parts.
        frames: the frames asked for.
        queries: the queries asked for; None if no feature needs them.
        batch_size: frames (and queries) a batch.
    """
    open_arrays = [(number, plan) for number, plan in enumerate(arrays) if plan.missing]
    tables = [frames, *([] if queries is None else [queries]), *(plan.table for _, plan in open_arrays)]
    codes = FrameCodes.of(tables)
    missing = [_Missing(number, plan, codes.encode(plan.table), _missing_mask(plan)) for number, plan in open_arrays]
    asked = np.unique(
        np.concatenate(
            [
                *(codes.encode(table) for table in tables[: -len(missing) or None]),
                *(array.codes[array.mask] for array in missing),
            ]
        )
    )
    needed = [np.searchsorted(asked, array.codes[array.mask]) // batch_size for array in missing]
    numbers = np.unique(np.concatenate([np.empty(0, np.int64), *needed]))
    listed = None if queries is None else _Queries.of(queries, codes)
    batches = _Batches(asked, numbers, batch_size, codes, missing, listed)
    return Work(tuple(arrays), batches, batches.frames)


def query_chunks(batch: Batch, features: Iterable[str], size: int) -> Iterator[tuple[Query, ...]]:
    """The chunks of a batch's queries that hold a missing row, each whole."""
    names = tuple(features)
    for chunk in _cut(batch.queries, size):
        keys = (Key(name, batch.frames[query.position], query.instruction) for name in names for query in chunk)
        if any(key in batch.places for key in keys):
            yield tuple(chunk)


class _Missing(NamedTuple):
    """An array with missing rows: its place in the list, the plan, its rows' frames in order, which are missing."""

    number: int
    plan: ArrayPlan
    codes: Int[np.ndarray, " rows"]
    mask: Bool[np.ndarray, " rows"]

    def rows(self, first: int, last: int) -> list[int]:
        """Missing rows whose frames have codes from ``first`` to ``last``."""
        start, stop = np.searchsorted(self.codes, first), np.searchsorted(self.codes, last, side="right")
        found: list[int] = (start + np.flatnonzero(self.mask[start:stop])).tolist()
        return found


class _Queries(NamedTuple):
    """The queries asked for, ordered by frame."""

    codes: Int[np.ndarray, " rows"]
    instructions: pa.ChunkedArray

    @classmethod
    def of(cls, table: pa.Table, codes: FrameCodes) -> "_Queries":
        """Of a query table in any order."""
        found = codes.encode(table)
        order = np.argsort(found, kind="stable")
        return cls(found[order], table.column("instruction").take(pa.array(order)))

    def between(self, first: int, last: int) -> Iterator[tuple[int, str]]:
        """Code and instruction of queries about frames with codes from ``first`` to ``last``."""
        start, stop = np.searchsorted(self.codes, first), np.searchsorted(self.codes, last, side="right")
        texts = self.instructions.slice(start, stop - start).to_pylist()
        yield from zip(self.codes[start:stop].tolist(), texts, strict=True)


@dataclass(frozen=True)
class _Batches(Sequence[Batch]):
    """The needed batches of the frames asked for, made when they are looked at."""

    asked: Int[np.ndarray, " frames"]
    numbers: Int[np.ndarray, " batches"]
    size: int
    codes: FrameCodes
    missing: Sequence[_Missing]
    queries: _Queries | None

    @property
    def frames(self) -> int:
        """Frames of all of them."""
        starts = self.numbers * self.size
        return int((np.minimum(starts + self.size, len(self.asked)) - starts).sum())

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self._make(int(number)) for number in self.numbers[at]]
        return self._make(int(self.numbers[at]))

    def _make(self, number: int) -> Batch:
        codes = self.asked[number * self.size : (number + 1) * self.size]
        frames = self.codes.decode(codes)
        position = {code: at for at, code in enumerate(codes.tolist())}
        first, last = int(codes[0]), int(codes[-1])
        asked: list[set[str]] = [set() for _ in frames]
        places: dict[Key, list[Place]] = {}
        for code, instruction in () if self.queries is None else self.queries.between(first, last):
            asked[position[code]].add(instruction)
        for array in self.missing:
            rows = array.rows(first, last)
            for row, text in zip(rows, instructions(array.plan.table.take(pa.array(rows, pa.int64()))), strict=True):
                at = position[int(array.codes[row])]
                places.setdefault(Key(array.plan.spec.key, frames[at], text), []).append(Place(array.number, row))
                if text is not None:  # a part of an older, larger plan is finished whole
                    asked[at].add(text)
        queries = (Query(at, text) for at, texts in enumerate(asked) for text in sorted(texts))
        return Batch(tuple(frames), tuple(queries), places)


def _missing_mask(plan: ArrayPlan) -> Bool[np.ndarray, " rows"]:
    mask = np.zeros(plan.table.num_rows, bool)
    for part in plan.missing:
        rows = plan.part_range(part)
        mask[rows.start : rows.stop] = True
    return mask


def _cut[T](items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
