"""Is a store what its receipts say? Looks at everything, stops at nothing, changes nothing."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from ..errors import StoreCorrupt, StoreError, StoreIncomplete
from ..words import counted
from .commit import own_errors
from .evidence import check_orphan, check_orphan_frames, check_part, prove_part
from .files import entries, read_file
from .index import read_index
from .layout import INDEX_ID, PART_NAME, SKIPPED_NAME, Layout, part_name
from .problem import Problem, Verdict, describe_rows
from .receipt import Receipt
from .schema import refuse_other_schema
from .skipped import MAX_SKIPPED_BYTES, parse_skipped
from .snapshot import Snapshot, metadata_sha256, read_snapshot, snapshot_file, snapshot_name, snapshot_numbers
from .survey import Slot, command_of, names_in, reason, strange_files, survey

_THREADS = 4
_NO_SCHEMA = "the file that says this is a feature store is missing"


@dataclass(frozen=True)
class _Part:
    slot: Slot
    number: int
    receipt: Receipt


def verify(path: str | Path, *, full: bool = False, progress: bool = False) -> Verdict:
    """Check a store against its own receipts.

    Without ``full``: the schema, every index (its hash), metadata, claim and receipt, the size and row index of every
    part, every table of frames, and that snapshots still name what is there. With ``full`` also every byte: the
    sha256 of every part, its rows decoded, its numbers that are not finite counted.

    Args:
        path: the store.
        full: read every byte.
        progress: show a bar on stderr while reading bytes.

    Raises:
        StoreError: the folder is no feature store, or of a newer release. Damage inside is never raised, but reported.
        MachineError: a folder cannot be listed.
    """
    layout = Layout(Path(path))
    with own_errors(layout.root):
        return _verdict(layout, full=full, progress=progress)


def _verdict(layout: Layout, *, full: bool, progress: bool) -> Verdict:
    problems = [*_check_schema(layout), *_check_strange(layout)]
    slots = survey(layout)
    tables = _read_indexes(layout, slots, problems)
    finished = [_Part(slot, part, receipt) for slot in slots for part, receipt in slot.receipts.items() if receipt]
    found = [(part, check_part(part.slot, part.number, part.receipt)) for part in finished]
    problems += [problem for slot in slots for problem in _check_slot(slot, tables, full=full)]
    problems += [problem for _, problem in found if problem]
    if full:
        problems += _prove([part for part, problem in found if problem is None], progress=progress)
    problems += [*_check_skipped(layout), *_check_snapshots(layout, slots)]
    return Verdict(
        path=layout.root,
        full=full,
        parts=len(finished),
        rows=sum(part.receipt.rows for part in finished),
        bytes=sum(part.receipt.bytes for part in finished),
        problems=tuple(_completed(problems, slots, tables)),
        notes=tuple(_notes(slots)),
    )


def _check_schema(layout: Layout) -> Iterator[Problem]:
    try:
        refuse_other_schema(layout.root, read_file(layout.root, layout.schema_file))
    except StoreIncomplete:
        if not any(folder.is_dir() for folder in (layout.indexes, layout.arrays, layout.receipts)):
            raise StoreError(f"{layout.root} is no feature store", expected="a folder with a vtt.json") from None
        yield Problem("schema", layout.schema_file, _NO_SCHEMA)
    except StoreCorrupt:
        yield Problem("schema", layout.schema_file, "the file that says this is a feature store is damaged")
    except StoreError:
        if stat.S_ISREG(os.lstat(layout.schema_file).st_mode):
            raise  # of a newer release
        yield Problem("schema", layout.schema_file, "what says that this is a feature store is no plain file")


def _check_strange(layout: Layout) -> Iterator[Problem]:
    for path in strange_files(layout):
        what = "a symbolic link, which no reader follows" if path.is_symlink() else "neither a file nor a folder"
        yield Problem("stray", path, what)


def _read_indexes(layout: Layout, slots: list[Slot], problems: list[Problem]) -> dict[str, pa.Table]:
    """The tables that can be trusted; the others become problems."""
    tables, used = {}, {slot.index_id for slot in slots if slot.array is not None}
    there = entries(layout.indexes, INDEX_ID, ".parquet") if layout.indexes.is_dir() else []
    for index_id in sorted({*there, *used}):
        path = layout.index_file(index_id)
        try:
            tables[index_id] = read_index(layout, index_id)
        except StoreIncomplete:
            problems.append(Problem("index", path, "the table of its rows is missing", index_id))
        except StoreError as error:
            problems.append(Problem("index", path, reason(error, path, "the table of its rows"), index_id))
    return tables


def _check_slot(slot: Slot, tables: Mapping[str, pa.Table], *, full: bool) -> Iterator[Problem]:
    """Metadata, claim and receipts as the survey found them, and files without a receipt that are in the way."""
    yield from slot.problems
    array, table = slot.array, tables.get(slot.index_id)
    if array is not None and table is not None and table.num_rows != array.rows:
        path, what = array.path / array.format.metadata_name, f"it has {array.rows} rows, its index {table.num_rows}"
        yield Problem("metadata", path, what, slot.index_id, slot.key)
    for part, path in slot.part_files():
        problem = None if part in slot.receipts else check_orphan(slot, part, path, full=full)
        if problem is not None:
            yield problem
    folder = slot.layout.receipts_dir(slot.index_id, slot.key)
    for name in names_in(folder):
        stem = name.removesuffix(".parquet")
        if stem != name and PART_NAME.fullmatch(stem) and int(stem) not in slot.receipts:
            problem = check_orphan_frames(slot, int(stem), folder / name)
            if problem is not None:
                yield problem


def _prove(parts: list[_Part], *, progress: bool) -> list[Problem]:
    """Read every byte, a few parts at once."""
    total = sum(part.receipt.bytes for part in parts)
    bar = tqdm(total=total, unit="B", unit_scale=True, desc="reading every byte", disable=not progress, leave=False)

    def prove(part: _Part) -> Problem | None:
        problem = prove_part(part.slot, part.number, part.receipt)
        bar.update(part.receipt.bytes)
        return problem

    with bar, ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        return [problem for problem in pool.map(prove, parts) if problem]


def _check_skipped(layout: Layout) -> Iterator[Problem]:
    for name in entries(layout.skipped, SKIPPED_NAME, ".json") if layout.skipped.is_dir() else []:
        path = layout.skipped_file(name)
        try:
            parse_skipped(path, name, read_file(layout.root, path, limit=MAX_SKIPPED_BYTES))
        except StoreError as error:
            yield Problem("skipped", path, reason(error, path, "what says that an episode was left out"))


def _check_snapshots(layout: Layout, slots: list[Slot]) -> Iterator[Problem]:
    there = {(slot.index_id, slot.key): slot for slot in slots}
    for number in snapshot_numbers(layout) if layout.snapshots.is_dir() else []:
        path = snapshot_file(layout, number)
        try:
            snapshot = read_snapshot(layout, number)
        except StoreError as error:
            yield Problem("snapshot", path, reason(error, path, "it"))
            continue
        yield from _check_sealed_arrays(path, snapshot, there)
        yield from _check_sealed_parts(path, snapshot, there)


def _check_sealed_arrays(path: Path, snapshot: Snapshot, there: Mapping[tuple[str, str], Slot]) -> Iterator[Problem]:
    label = f"snapshot {snapshot_name(snapshot.number)} names this array"
    for sealed in snapshot.arrays:
        slot = there.get((sealed.index_id, sealed.feature))
        if slot is not None and slot.array is not None and metadata_sha256(slot.array) != sealed.metadata_sha256:
            yield Problem("snapshot", path, f"{label} with other metadata", sealed.index_id, sealed.feature)
        elif (slot is None or (slot.array is None and not slot.problems)) and not sealed.parts:
            yield Problem("snapshot", path, f"{label}, which is gone", sealed.index_id, sealed.feature)


def _check_sealed_parts(path: Path, snapshot: Snapshot, there: Mapping[tuple[str, str], Slot]) -> Iterator[Problem]:
    label = f"snapshot {snapshot_name(snapshot.number)} names it"
    for index_id, key, sealed in snapshot.parts():
        slot = there.get((index_id, key))
        if slot is None or sealed.part not in slot.receipts:
            yield Problem("snapshot", path, f"{label} and it is gone", index_id, key, sealed.part)
            continue
        receipt = slot.receipts[sealed.part]
        if receipt is not None and (receipt.bytes, receipt.sha256, receipt.frames_sha256) != (
            sealed.bytes,
            sealed.sha256,
            sealed.frames_sha256,
        ):
            what = f"{label} with other bytes: sha256 {sealed.sha256[:12]}…, now {receipt.sha256[:12]}…"
            yield Problem("snapshot", path, what, index_id, key, sealed.part)


def _completed(problems: Iterable[Problem], slots: list[Slot], tables: Mapping[str, pa.Table]) -> Iterator[Problem]:
    """Problems with the episodes they concern and the command that makes again what is lost, store first."""
    there = {(slot.index_id, slot.key): slot for slot in slots}
    by_key: dict[str, list[Receipt | None]] = {}
    for slot in slots:
        by_key.setdefault(slot.key, []).extend(slot.receipts.values())
    for problem in sorted(problems, key=lambda one: (one.feature or "", one.index_id or "", one.part or -1)):
        found = there.get((problem.index_id or "", problem.feature or ""))
        table = tables.get(problem.index_id or "")
        if found is None:
            yield problem
            continue
        own = [found.receipts.get(problem.part)] if problem.part is not None else []
        command = command_of([*own, *found.receipts.values(), *by_key[found.key]])
        fits = problem.rows is not None and table is not None and problem.rows[1] <= table.num_rows
        holds = describe_rows(table, *problem.rows) if fits and problem.rows else None
        yield replace(problem, holds=holds, remake=None if problem.kind in ("snapshot", "stray") else command)


def _notes(slots: list[Slot]) -> Iterator[str]:
    for slot in slots:
        if slot.waiting and slot.receipts:
            command = command_of(slot.receipts.values()) or "the `vtt extract` that made it"
            parts = counted(len(slot.receipts), "part")
            yield f"{slot.key} (index {slot.index_id}) has {parts} and waits for its metadata: run {command}"
        for part, receipt in slot.receipts.items():
            if receipt is not None and (receipt.nan_count or receipt.inf_count):
                what = f"{receipt.nan_count} NaN and {receipt.inf_count} infinite numbers, which training refuses"
                yield f"part {part_name(part)} of {slot.key} (index {slot.index_id}) holds {what}"
