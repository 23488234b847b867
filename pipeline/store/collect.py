"""Garbage: temporary files of writers that died, and parts that never got a receipt.

Nothing that a receipt or a snapshot names is ever removed, nor anything younger than an age guard. A writer may adopt
an old part without a receipt at the very moment it is collected, without any lock, because

    the collector   renames the part away -> looks for a receipt again -> puts the part back if there is one
    the writer      writes the receipt    -> looks for the part again  -> commits its bytes again if it is gone

and whichever order these come in, one of the two sees what the other did. A collector that dies in between is finished
by the next one, or by a repair.
"""

import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import StoreError
from ..words import counted
from .commit import own_errors
from .layout import PART_NAME, Layout
from .listing import readable_bytes
from .snapshot import read_snapshots
from .store import FeatureStore
from .survey import Slot, names_in, survey
from .system import SYSTEM, Calls, publish

DAY_S = 86400.0

_SET_ASIDE = re.compile(r"\.(.+)\.[0-9a-f]{16}\.gc")
_COMMITTING = re.compile(r"\..+\.tmp")


@dataclass(frozen=True)
class Collected:
    """What :func:`collect` removed.

    Args:
        path: the store.
        dry_run: whether it only looked.
        removed: files removed (in a dry run: that would be).
        bytes: their size.
        young: files that were kept only because they are younger than the age guard.
        kept: why files without a receipt were left alone, if they were.
    """

    path: Path
    dry_run: bool
    removed: tuple[Path, ...]
    bytes: int
    young: int
    kept: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Everything it says, as plain data."""
        said = {"path": str(self.path), "dry_run": self.dry_run, "removed": [str(path) for path in self.removed]}
        return said | {"bytes": self.bytes, "young": self.young, "kept": self.kept}

    def render(self) -> str:
        """The same for people."""
        verb = "would be removed" if self.dry_run else "removed"
        done = f"{counted(len(self.removed), 'file')} {verb}, {readable_bytes(self.bytes)}"
        lines = [f"{self.path}: {done if self.removed else 'nothing to remove'}"]
        lines += [f"  {path.relative_to(self.path)}" for path in self.removed]
        if self.young:
            lines.append(f"  {counted(self.young, 'file')} kept: younger than --min-age")
        return "\n".join([*lines, *([f"  {self.kept}"] if self.kept else [])])


@dataclass(frozen=True)
class _Garbage:
    """A file that may go, and the receipt that would keep it; None if nothing could."""

    path: Path
    receipt: Path | None = None


def collect(
    path: str | Path,
    *,
    min_age_s: float = DAY_S,
    dry_run: bool = False,
    quarantine: bool = False,
    calls: Calls = SYSTEM,
) -> Collected:
    """Remove what nobody will ever need.

    Ages are told by the file system's own clock: by the time stamp of a file made just now in the same folder.

    Args:
        path: the store.
        min_age_s: seconds since a file was written before it may go.
        dry_run: only say what would be removed.
        quarantine: remove what repairs took out as well.
        calls: the system calls.

    Raises:
        StoreError: the folder is no feature store.
        MachineError: it cannot be written.
    """
    layout = FeatureStore.open(path).layout
    with own_errors(layout.root):
        if not dry_run:
            finish_interrupted(layout, calls=calls)
        orphans, kept = _orphans(layout, survey(layout))
        wanted = (*_temporary(layout), *(_files(layout.quarantine) if quarantine else ()))
        loose = [_Garbage(one) for one in dict.fromkeys(wanted)]
        old = _old_enough(min_age_s)
        found = {one: _size(one.path) for one in (*orphans, *loose) if old(one.path)}
        young = len(orphans) + len(loose) - len(found)
        gone = {one.path: size for one, size in found.items() if dry_run or _take_away(one, calls)}
    return Collected(layout.root, dry_run, tuple(sorted(gone)), sum(gone.values()), young, kept)


def finish_interrupted(layout: Layout, *, calls: Calls = SYSTEM) -> None:
    """Put back, or remove, what a collector that died had set aside."""
    with own_errors(layout.root):
        for slot in survey(layout):
            for folder in (slot.folder, layout.receipts_dir(slot.index_id, slot.key)):
                for name in names_in(folder) if folder else []:
                    match = _SET_ASIDE.fullmatch(name)
                    orphan = match and folder and _as_orphan(slot, folder / match.group(1))
                    if orphan and folder:
                        _settle(orphan, folder / name, calls)


def _orphans(layout: Layout, slots: list[Slot]) -> tuple[list[_Garbage], str | None]:
    """Parts and tables of frames without a receipt; none if a snapshot that might name them cannot be read."""
    found = [orphan for slot in slots for orphan in _orphans_of(slot)]
    try:
        sealed = {
            (index_id, key, part.part)
            for snapshot in read_snapshots(layout)
            for index_id, key, part in snapshot.parts()
        }
    except StoreError as error:
        return [], f"{counted(len(found), 'file')} without a receipt kept: {error.problem}" if found else None
    named = {layout.receipt_file(index_id, key, part) for index_id, key, part in sealed}
    return [orphan for orphan in found if orphan.receipt not in named], None


def _orphans_of(slot: Slot) -> Iterator[_Garbage]:
    folders = (slot.folder, slot.layout.receipts_dir(slot.index_id, slot.key))
    for folder in folders:
        for name in names_in(folder) if folder else []:
            orphan = folder and _as_orphan(slot, folder / name)
            if orphan and _is_file(orphan.path) and not _is_named(orphan):
                yield orphan


def _as_orphan(slot: Slot, path: Path) -> _Garbage | None:
    """A part's file or a table of frames, with the receipt that would name it."""
    if path.parent == slot.folder:
        part = slot.format.part_number(path.name)
    else:
        stem = path.name.removesuffix(".parquet")
        part = int(stem) if stem != path.name and PART_NAME.fullmatch(stem) else None
    return None if part is None else _Garbage(path, slot.layout.receipt_file(slot.index_id, slot.key, part))


def _take_away(orphan: _Garbage, calls: Calls) -> bool:
    """Remove a file unless it has, or gets meanwhile, a receipt that names it; says whether it is gone."""
    if orphan.receipt is None:
        with suppress(FileNotFoundError):
            calls.unlink(orphan.path)
        return True
    aside = orphan.path.with_name(f".{orphan.path.name}.{secrets.token_hex(8)}.gc")
    if _is_named(orphan):
        return False
    try:
        calls.rename(orphan.path, aside)  # a name that nobody else has
    except FileNotFoundError:
        return False
    return _settle(orphan, aside, calls)


def _settle(orphan: _Garbage, aside: Path, calls: Calls) -> bool:
    """Put a file that was set aside back if it has a receipt now; says whether it is gone."""
    named = _is_named(orphan)
    if named:
        with suppress(FileNotFoundError):  # another collector was faster
            publish(aside, orphan.path, calls=calls)  # or its writer, and then the name exists
    with suppress(FileNotFoundError):
        calls.unlink(aside)
    return not named


def _is_named(orphan: _Garbage) -> bool:
    return orphan.receipt is not None and os.path.lexists(orphan.receipt)


def _temporary(layout: Layout) -> Iterator[Path]:
    """Files of writers that died: in the store's own folders all that begin with ".", at its root only a commit's."""
    for name in os.listdir(layout.root):
        if _COMMITTING.fullmatch(name) and _is_file(layout.root / name):
            yield layout.root / name
    for top in (layout.indexes, layout.arrays, layout.receipts, layout.skipped, layout.snapshots, layout.quarantine):
        for path in _files(top):
            if path.name.startswith(".") and not _SET_ASIDE.fullmatch(path.name):
                yield path


def _files(folder: Path) -> Iterator[Path]:
    """Every plain file below a folder, following no link."""
    for name in names_in(folder):
        path = folder / name
        if _is_file(path):
            yield path
        elif path.is_dir() and not path.is_symlink():
            yield from _files(path)


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _size(path: Path) -> int:
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0


def _old_enough(min_age_s: float) -> Callable[[Path], bool]:
    """Whether a file was written long enough ago, by the clock of the file system it lies on."""
    now: dict[Path, float] = {}

    def old(path: Path) -> bool:
        if path.parent not in now:
            now[path.parent] = _clock(path.parent)
        try:
            return now[path.parent] - os.lstat(path).st_mtime >= min_age_s
        except FileNotFoundError:
            return False

    return old


def _clock(folder: Path) -> float:
    """What time it is where a folder lies: the time stamp of a file made there just now."""
    probe = folder / f".clock.{secrets.token_hex(8)}.tmp"
    fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        return os.fstat(fd).st_mtime
    finally:
        os.close(fd)
        os.unlink(probe)
