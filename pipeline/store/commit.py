"""The one way a file enters a store: whole, durable, and only if nobody was faster.

    temporary name in the same folder -> write -> fsync -> link to the final name -> unlink temporary -> fsync folder

``link`` fails if the final name exists, so of any number of writers exactly one wins, without a lock; the others
get the winner's bytes back and describe those. Where a file system has no hard links the file is renamed with
``RENAME_NOREPLACE`` instead, which has the same property. A reply lost on the way (network file systems) is settled
by looking whether our own inode stands under the final name.
"""

import errno
import os
import secrets
import stat
from collections.abc import Buffer, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import MachineError
from .files import read_file, refuse_links, retry_stale
from .system import NO_LINKS, SYSTEM, Calls, publish, rename_no_replace, sync_folder

FILE_MODE = 0o440
"""Committed files are read-only, for the owner and the group; the umask may take more away."""

DIR_MODE = 0o2770
"""Folders are the group's, and what is made in them belongs to the same group; the umask may take more away."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_IOV_MAX = 1024

_LONGER, _SMALL = 4, 1 << 20
"""How much longer than ours another writer's file of the same name may be: versions pack tables in other ways."""


def move_file(source: Path, target: Path) -> None:
    """Give a file another name, which must be free, and make it durable.

    Raises:
        FileNotFoundError: there is no such file.
        FileExistsError: the name is taken.
        MachineError: the disk failed, or the file system can neither rename without replacing nor link.
    """
    try:
        try:
            rename_no_replace(source, target)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            os.link(source, target, follow_symlinks=False)
            os.unlink(source)
        for folder in {source.parent, target.parent}:
            sync_folder(folder, SYSTEM)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        raise _machine_error(target, 0, error) from error


def link_file(source: Path, target: Path) -> bool:
    """Give a committed file a second name unless that is taken; False where the two places cannot share a file.

    Raises:
        MachineError: the disk failed, or one of the places is not permitted.
    """
    with own_errors(target):
        try:
            os.link(source, target, follow_symlinks=False)
        except FileExistsError:
            return True
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            return False
        sync_folder(target.parent, SYSTEM)
        return True


@contextmanager
def own_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors while ``path`` is worked on into a MachineError."""
    try:
        yield
    except OSError as error:
        raise _machine_error(path, 0, error) from error


def commit_file(path: Path, data: bytes, *, calls: Calls = SYSTEM) -> bytes:
    """Create ``path`` holding ``data``, or leave the file that is already there alone.

    Returns:
        The bytes on disk under that name: ``data`` itself if this call created the file, else what the other
        writer committed. In both cases they are durable when the call returns.

    Raises:
        MachineError: disk full, not permitted, or a file system that can neither link nor rename without replacing.
        StoreError: the name is taken by a link, a pipe, a device or a folder.
        StoreCorrupt: the file that is there is far too long to be the same thing.
    """
    try:
        created = not os.path.lexists(path) and _create(path, [data], calls)
        sync_folder(path.parent, calls)
        return data if created else read_file(path.parent, path, limit=_LONGER * len(data) + _SMALL)
    except OSError as error:
        raise _machine_error(path, len(data), error) from error


def commit_pieces(path: Path, pieces: Sequence[Buffer], *, calls: Calls = SYSTEM) -> bytes | None:
    """Create ``path`` holding these buffers one after another, as :func:`commit_file` does, without joining them.

    Returns:
        None if this call created the file, else the bytes that the other writer committed.

    Raises:
        MachineError: as :func:`commit_file`.
    """
    size = sum(len(memoryview(piece).cast("B")) for piece in pieces)
    try:
        created = not os.path.lexists(path) and _create(path, pieces, calls)
        sync_folder(path.parent, calls)
        return None if created else read_file(path.parent, path, limit=_LONGER * size + _SMALL)
    except OSError as error:
        raise _machine_error(path, size, error) from error


def make_folders(root: Path, folder: Path) -> None:
    """Create ``folder`` and every folder missing between it and ``root``, durably; existing ones are fine.

    Names are made durable even if another process made them, which may not have come to that yet.

    Raises:
        MachineError: a folder cannot be made.
        StoreError: a folder below ``root`` is a symbolic link, so that its files would lie elsewhere.
    """
    refuse_links(root, folder)
    chain = [part for part in (folder, *folder.parents) if part == root or root in part.parents]
    for part in reversed(chain):
        try:
            _make_folder(part)
            if part != root:
                sync_folder(part.parent, SYSTEM)
        except OSError as error:
            raise _machine_error(part, 0, error) from error


def make_root(root: Path) -> None:
    """Create a store's folder and whatever is missing above it; an existing one is fine."""
    existing = next(folder for folder in (root, *root.parents, Path()) if folder.is_dir())
    make_folders(existing, root)


def _make_folder(folder: Path) -> None:
    """Make one folder unless it is there; the bit that keeps the group has to be asked for by name."""
    try:
        folder.mkdir(mode=DIR_MODE)
    except FileExistsError:
        if not folder.is_dir():
            raise
        return
    # best effort: where a file system knows no groups, or the folder's group is not ours, it stays as it was made
    with suppress(PermissionError, NotImplementedError):
        os.chmod(folder, stat.S_IMODE(os.stat(folder).st_mode) | (DIR_MODE & stat.S_ISGID))


def _create(path: Path, pieces: Sequence[Buffer], calls: Calls) -> bool:
    """Write under a temporary name and publish; says whether the file is ours. Failures leave no temporary name."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = retry_stale(os.open, temporary, flags, FILE_MODE)
        try:
            _write_all(fd, pieces, calls)
            calls.fsync(fd)
        finally:
            os.close(fd)
        return publish(temporary, path, calls=calls) != "exists"
    finally:
        _remove(temporary, calls)


def _write_all(fd: int, pieces: Sequence[Buffer], calls: Calls) -> None:
    """Many pieces a call: what is written at once lies in large pages of the cache, which are quicker to read."""
    left = [view for piece in pieces if (view := memoryview(piece).cast("B"))]
    while left:
        done = calls.write(fd, left[:_IOV_MAX])
        while left and done >= len(left[0]):
            done -= len(left.pop(0))
        if done:
            left[0] = left[0][done:]


def _remove(path: Path, calls: Calls) -> None:
    """Try twice, since a temporary name that stays is one that `vtt store gc` must find."""
    for last in (False, True):
        try:
            calls.unlink(path)
            return
        except FileNotFoundError:  # it was renamed, or the reply to an earlier unlink was lost
            return
        except OSError:
            if last:
                raise


def _machine_error(path: Path, size: int, error: OSError) -> MachineError:
    if error.errno in _FULL:
        place = os.statvfs(path.parent)
        found = f"{place.f_bavail * place.f_frsize} bytes free ({error.strerror})"
        return MachineError(f"no room for {path}", found=found, expected=f"{size} bytes", remedy="free space, re-run")
    if error.errno in NO_LINKS:
        remedy = "put the store on a file system with hard links or rename without replacement"
        return MachineError(f"{path} cannot be created only once here", found=error.strerror, remedy=remedy)
    return MachineError(f"{path} cannot be written", found=error.strerror)
