"""Which batches have to be computed, and where every number of them goes.

Batches are cut at fixed multiples of the batch size in the frame table's order, whatever is stored already, and a
batch is always computed whole: its numbers do not depend on where an earlier run stopped. The queries of a batch's
frames follow in the query table's order, cut the same way.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from ..pipeline.store import ArrayPlan


class FrameId(NamedTuple):
    """One frame; sorts like the frame table."""

    repo_id: str
    episode: int
    camera: str
    frame: int


class Place(NamedTuple):
    """A row of one of the arrays being filled."""

    array: int
    row: int


class Query(NamedTuple):
    """An instruction about the frame at ``position`` in its batch."""

    position: int
    instruction: str


class Key(NamedTuple):
    """What a row holds: one feature of one frame, or of one query (then with its instruction)."""

    feature: str
    frame: FrameId
    instruction: str | None


@dataclass(frozen=True)
class Batch:
    """Frames that run through the vision tower together, and their queries."""

    frames: tuple[FrameId, ...]
    queries: tuple[Query, ...]


@dataclass(frozen=True)
class Work:
    """The batches that hold a missing row, in order, and the places of their rows."""

    arrays: tuple[ArrayPlan, ...]
    batches: tuple[Batch, ...]
    places: Mapping[Key, Sequence[Place]]

    @property
    def frames(self) -> int:
        """Frames to decode and to run."""
        return sum(len(batch.frames) for batch in self.batches)


def frame_ids(table: pa.Table) -> list[FrameId]:
    """The frame of every row of a frame or query table."""
    columns = (table.column(name).to_pylist() for name in ("repo_id", "episode_index", "camera", "frame_index"))
    return [FrameId(*values) for values in zip(*columns, strict=True)]


def instructions(table: pa.Table) -> list[str | None]:
    """The instruction of every row; None in a frame table."""
    if "instruction" not in table.column_names:
        return [None] * table.num_rows
    values: list[str | None] = table.column("instruction").to_pylist()
    return values


def schedule(arrays: Sequence[ArrayPlan], frames: pa.Table, queries: pa.Table | None, batch_size: int) -> Work:
    """Lay out what is missing in ``arrays``.

    Args:
        arrays: the arrays that hold wanted rows, with their missing parts.
        frames: the frames asked for.
        queries: the queries asked for; None if no feature needs them.
        batch_size: frames (and queries) a batch.
    """
    places = _places(arrays)
    asked: dict[FrameId, set[str]] = {frame: set() for frame in frame_ids(frames)}
    if queries is not None:
        for frame, instruction in zip(frame_ids(queries), instructions(queries), strict=True):
            asked.setdefault(frame, set()).add(instruction or "")
    for key in places:  # a part of an older, larger plan is finished whole
        asked.setdefault(key.frame, set()).update([] if key.instruction is None else [key.instruction])
    missing = {key.frame for key in places}
    batches = _cut(sorted(asked), batch_size)
    needed = [batch for batch in batches if any(frame in missing for frame in batch)]
    return Work(tuple(arrays), tuple(_batch(batch, asked) for batch in needed), places)


def query_chunks(batch: Batch, work: Work, features: Iterable[str], size: int) -> Iterator[tuple[Query, ...]]:
    """The chunks of a batch's queries that hold a missing row, each whole."""
    names = tuple(features)
    for chunk in _cut(batch.queries, size):
        keys = (Key(name, batch.frames[query.position], query.instruction) for name in names for query in chunk)
        if any(key in work.places for key in keys):
            yield tuple(chunk)


def missing_rows(plan: ArrayPlan) -> Iterator[int]:
    """The rows of an array's missing parts."""
    for part in plan.missing:
        yield from plan.part_range(part)


def _places(arrays: Sequence[ArrayPlan]) -> dict[Key, list[Place]]:
    places: dict[Key, list[Place]] = {}
    for number, plan in enumerate(arrays):
        if plan.missing:
            frames, words = frame_ids(plan.table), instructions(plan.table)
            for row in missing_rows(plan):
                places.setdefault(Key(plan.spec.name, frames[row], words[row]), []).append(Place(number, row))
    return places


def _batch(frames: Sequence[FrameId], asked: Mapping[FrameId, set[str]]) -> Batch:
    queries = (Query(at, text) for at, frame in enumerate(frames) for text in sorted(asked[frame]))
    return Batch(tuple(frames), tuple(queries))


def _cut[T](items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
