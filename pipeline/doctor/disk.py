"""The disk of a store: is there room, and does it do what a commit relies on? Tried, not read from a table."""

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..machine import LOCAL_FILE_SYSTEMS, file_system
from ..store.listing import readable_bytes
from ..store.system import rename_no_replace
from .findings import Finding

LITTLE_SPACE = 5 * 10**9
PROBE_BYTES = 8 * 2**20
SLOW_FSYNC_S = 1.0

Link = Callable[[Path, Path], None]


def look_at_disk(
    folder: Path, area: str, *, probe: bool, link: Link = os.link, rename: Link = rename_no_replace
) -> Iterator[Finding]:
    """Free space; with ``probe``, what the disk can do, tried in a temporary folder that is gone afterwards.

    Args:
        folder: a store, or where one is to be.
        area: the heading.
        probe: write, or only look.
        link: makes a second name; for tests of disks that cannot.
        rename: renames without replacing; likewise.
    """
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    yield look_at_space(there, area)
    if not probe:
        return
    if not there.is_dir():
        yield Finding(area, "folder", "missing", f"{there} is a file", "no store can be there", "name a folder")
        return
    yield from _look_at_owner(there, area)
    try:
        root = Path(tempfile.mkdtemp(prefix=".vtt-doctor-", dir=there))
    except OSError as error:
        remedy = f"give yourself the right to write to {there}, or name another folder"
        yield Finding(area, "writable", "missing", f"{there}: {error.strerror}", "nothing can be stored", remedy)
        return
    try:
        yield Finding(area, "writable", "ok", str(there), "parts can be stored")
        yield look_at_fsync(root, area)
        yield look_at_commit(root, area, link, rename)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def look_at_space(there: Path, area: str) -> Finding:
    """Free space, and the kind of file system."""
    free, kind = shutil.disk_usage(there).free, file_system(os.stat(there).st_dev)
    far = "" if kind is None or kind in LOCAL_FILE_SYSTEMS else ", on the network"
    found = f"{readable_bytes(free)} free ({kind or 'unknown file system'}{far}) at {there}"
    if free >= LITTLE_SPACE:
        return Finding(area, "disk", "ok", found, "see `vtt extract … --plan` for what an extraction takes")
    means = "10 000 frames of X-VLA take about 6 GB"
    return Finding(area, "disk", "warn", found, means, "free some, or put the store on another disk")


def look_at_fsync(root: Path, area: str) -> Finding:
    """Write and fsync a file and its folder, with the time that takes."""
    path, start = root / "fsync", time.perf_counter()
    try:
        with path.open("wb") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        means = "what was stored may be gone after a power cut"
        return Finding(area, "fsync", "missing", str(error.strerror), means, "use a disk that can be synced")
    spent = time.perf_counter() - start
    found = f"{readable_bytes(PROBE_BYTES)} in {spent * 1000:.0f} ms"
    if spent <= SLOW_FSYNC_S:
        return Finding(area, "fsync", "ok", found, "parts are durable when their receipt is there")
    means = "every part waits that long; extraction may be bound by it"
    return Finding(area, "fsync", "warn", found, means, "extract to a local disk, then `vtt store push` or merge")


def look_at_commit(root: Path, area: str, link: Link, rename: Link) -> Finding:
    """Does a second name, or a rename, refuse to replace? One of the two must."""
    linked = _refuses_to_replace(root, "link", link)
    renamed = _refuses_to_replace(root, "rename", rename)
    if linked is None:
        found = "hard link yes" + ("" if renamed is None else f"; rename without replacing no ({renamed})")
        return Finding(area, "atomic commit", "ok", found, "of any number of writers one wins, without locks")
    if renamed is None:
        found, means = f"hard link no ({linked}); rename without replacing yes", "the fallback is used; as safe"
        return Finding(area, "atomic commit", "note", found, means)
    found = f"hard link no ({linked}); rename without replacing no ({renamed})"
    means = "two writers could overwrite each other, so nothing is written here"
    return Finding(area, "atomic commit", "missing", found, means, "put the store on another file system")


def _refuses_to_replace(root: Path, name: str, call: Link) -> str | None:
    """None if the call gives a file a free name and refuses a taken one; else why not."""
    first, second, taken = (root / f"{name}-{which}" for which in ("first", "second", "taken"))
    for path in (first, second):
        path.write_bytes(name.encode())
    try:
        call(first, taken)
    except OSError as error:
        return error.strerror or str(error)
    try:
        call(second, taken)
    except FileExistsError:
        return None
    except OSError as error:
        return error.strerror or str(error)
    return "it replaces files"


def _look_at_owner(there: Path, area: str) -> Iterator[Finding]:
    about = os.stat(there)
    if about.st_mode & stat.S_IWOTH and not about.st_mode & stat.S_ISVTX:
        means = "every user of this machine may change what heads are trained on"
        yield Finding(area, "permissions", "warn", "writable for everybody", means, f"chmod o-w {there}")
    if about.st_uid not in (os.getuid(), 0):
        means = "somebody else may take your right to write away"
        yield Finding(area, "owner", "note", f"user id {about.st_uid}, not you", means)
