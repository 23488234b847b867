"""A store as it is found, damage included: the ground for verifying and for repairing it."""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import StoreError, StoreIncomplete
from .array import ArrayRef, load_array
from .files import entries, read_file
from .format import SUFFIXES, StoreFormat, load_format
from .layout import FEATURE_KEY, INDEX_ID, PART_NAME, Layout
from .problem import Problem
from .receipt import Receipt, read_receipt

MAX_COMMAND = 4096


@dataclass(frozen=True)
class Slot:
    """The place of one array, whatever stands there.

    Args:
        layout: the paths of the store.
        index_id: whose rows.
        key: ``<feature>-<fp8>``.
        array: the array, if its metadata can be trusted.
        folder: its folder, if there is one.
        format_name: of the files in it.
        receipts: by part; None where the receipt is damaged.
        problems: of its metadata, its claim and its receipts.
    """

    layout: Layout
    index_id: str
    key: str
    array: ArrayRef | None
    folder: Path | None
    format_name: str
    receipts: Mapping[int, Receipt | None]
    problems: tuple[Problem, ...] = field(default=())

    @property
    def format(self) -> StoreFormat:
        """How the files in its folder are laid out."""
        return load_format(self.format_name)

    def part_file(self, part: int) -> Path | None:
        """The file of a part; without metadata, the one whose name says so; None if there is none."""
        if self.array is not None and part < self.array.num_parts:
            return self.array.part_path(part)
        return next((path for number, path in self.part_files() if number == part), None)

    def part_files(self) -> Iterator[tuple[int, Path]]:
        """Every file in the folder that is named as a part."""
        if self.folder is None:
            return
        for name in names_in(self.folder):
            number = self.format.part_number(name)
            if number is not None:
                yield number, self.folder / name

    @property
    def waiting(self) -> bool:
        """Whether a repair took its metadata out, so that it waits for an extraction to write it again."""
        names = names_in(self.layout.quarantine_dir(self.index_id, self.key))
        return self.array is None and any(
            name.startswith(load_format(form).metadata_name) for name in names for form in SUFFIXES.values()
        )


def survey(layout: Layout) -> list[Slot]:
    """Every place of which the store has a trace, by key, then by index id."""
    found = {
        (key, index_id)
        for folder, suffixes in ((layout.arrays, (*SUFFIXES, ".claim")), (layout.receipts, ("",)))
        for index_id in _entries(folder, INDEX_ID)
        for suffix in suffixes
        for key in _entries(folder / index_id, FEATURE_KEY, suffix)
    }
    return [_look(layout, index_id, key) for key, index_id in sorted(found)]


def names_in(folder: Path) -> list[str]:
    """Sorted names in a folder; none if it is a link, no folder, or not there."""
    if folder.is_symlink():
        return []
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def strange_files(layout: Layout) -> Iterator[Path]:
    """Links, and whatever else is neither a file nor a folder, anywhere but in quarantine."""
    for top in (layout.indexes, layout.arrays, layout.receipts, layout.skipped, layout.snapshots):
        waiting = [top]
        while waiting:
            path = waiting.pop()
            try:
                mode = os.lstat(path).st_mode
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(mode):
                waiting += [path / name for name in names_in(path)]
            elif not stat.S_ISREG(mode):
                yield path


def command_of(receipts: Iterable[Receipt | None]) -> str | None:
    """The command that the first of these receipts to know one was made by."""
    for receipt in receipts:
        command = receipt.info.get("command") if receipt else None
        if isinstance(command, str) and len(command) <= MAX_COMMAND and command.isprintable():
            return command
    return None


def _look(layout: Layout, index_id: str, key: str) -> Slot:
    problems: list[Problem] = []
    found = {
        suffix: layout.array_dir(index_id, key, suffix)
        for suffix in SUFFIXES
        if os.path.lexists(layout.array_dir(index_id, key, suffix))
    }
    arrays = {suffix: array for suffix in found if (array := _array(layout, index_id, key, suffix, problems))}
    claimed = _claimed(layout, index_id, key, arrays, problems)
    suffix = claimed if claimed in found else next(iter([*arrays, *found]), None)
    for other, extra in arrays.items():
        if other != suffix:
            path = extra.path / extra.format.metadata_name
            problems.append(_of(index_id, key, path, f"there is an array in another format than {suffix} as well"))
    array, form = arrays.get(suffix or ""), SUFFIXES[suffix or next(iter(SUFFIXES))]
    receipts = _receipts(layout, index_id, key, array, problems)
    folder = found.get(suffix or "")
    slot = Slot(layout, index_id, key, array, folder, form, receipts)
    metadata = (folder or layout.array_dir(index_id, key, ".zarr")) / load_format(form).metadata_name
    if array is None and receipts and not slot.waiting and not any(p.path == metadata for p in problems):
        problems.append(_of(index_id, key, metadata, "the metadata is missing though parts of the array have receipts"))
    return Slot(layout, index_id, key, array, folder, form, receipts, tuple(problems))


def _array(layout: Layout, index_id: str, key: str, suffix: str, problems: list[Problem]) -> ArrayRef | None:
    try:
        return load_array(layout, index_id, key + suffix)
    except StoreIncomplete:
        return None
    except StoreError as error:
        path = layout.array_dir(index_id, key, suffix) / load_format(SUFFIXES[suffix]).metadata_name
        problems.append(_of(index_id, key, path, reason(error, path, "the metadata")))
        return None


def _claimed(
    layout: Layout, index_id: str, key: str, arrays: Mapping[str, ArrayRef], problems: list[Problem]
) -> str | None:
    """The suffix that the claim names."""
    path, known = layout.claim_file(index_id, key), {f"{key}{suffix}\n".encode(): suffix for suffix in SUFFIXES}
    try:
        said = read_file(layout.root, path)
    except StoreIncomplete:
        if len(arrays) > 1:
            problems.append(_of(index_id, key, path, "the claim that settles the format is missing"))
        return None
    except StoreError as error:
        problems.append(_of(index_id, key, path, reason(error, path, "the claim")))
        return None
    if said not in known:
        problems.append(_of(index_id, key, path, "the claim that settles the format is damaged"))
    return known.get(said)


def _receipts(
    layout: Layout, index_id: str, key: str, array: ArrayRef | None, problems: list[Problem]
) -> dict[int, Receipt | None]:
    found: dict[int, Receipt | None] = {}
    for name in _entries(layout.receipts_dir(index_id, key), PART_NAME, ".json"):
        part, path = int(name), layout.receipt_file(index_id, key, int(name))
        try:
            found[part] = read_receipt(layout.root, path)
        except StoreError as error:
            found[part] = None
            rows = array.meta.part_range(part) if array is not None and part < array.num_parts else None
            span = None if rows is None else (rows.start, rows.stop)
            problems.append(Problem("receipt", path, reason(error, path, "its receipt"), index_id, key, part, span))
    return found


def reason(error: StoreError, path: Path, called: str = "it") -> str:
    """What an error says about a file, in one line, with a word for its path and without what to do."""
    said = error.problem if error.found is None else f"{error.problem} ({error.found})"
    return said.replace(str(path), called)


def _of(index_id: str, key: str, path: Path, what: str) -> Problem:
    return Problem("metadata", path, what, index_id, key)


def _entries(folder: Path, pattern: re.Pattern[str], suffix: str = "") -> list[str]:
    return entries(folder, pattern, suffix) if folder.is_dir() and not folder.is_symlink() else []
