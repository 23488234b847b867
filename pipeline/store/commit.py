"""The one way a file enters a store: whole, durable, and only if nobody was faster.

    temporary name in the same folder -> write -> fsync -> link to the final name -> unlink temporary -> fsync folder

``link`` fails if the final name exists, so of any number of writers exactly one wins, without a lock; the others
get the winner's bytes back and describe those. Where a file system has no hard links the file is renamed with
``RENAME_NOREPLACE`` instead, which has the same property. A reply lost on the way (network file systems) is settled
by looking whether our own inode stands under the final name.
"""

import ctypes
import errno
import os
import secrets
from collections.abc import Buffer, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import MachineError, StoreError

FILE_MODE = 0o440
"""Committed files are read-only, for the owner and the group; the umask may take more away."""

DIR_MODE = 0o770

JOIN_BYTES = 1 << 20
"""Pieces that are not more than this together are written at once."""

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EXDEV})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_RENAME_NOREPLACE = 1
_AT_FDCWD = -100


def rename_no_replace(source: Path, target: Path) -> None:
    """Rename a file unless the target exists: Linux ``renameat2(…, RENAME_NOREPLACE)``; OSError on failure."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, "this C library has no renameat2", str(target))
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), ctypes.c_uint(_RENAME_NOREPLACE)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(target))


@dataclass(frozen=True)
class Calls:
    """The system calls of a commit, so that faults can be put at each of them."""

    write: Callable[[int, memoryview], int] = os.write
    fsync: Callable[[int], None] = os.fsync
    link: Callable[[Path, Path], None] = os.link
    rename_no_replace: Callable[[Path, Path], None] = rename_no_replace
    unlink: Callable[[Path], None] = os.unlink


SYSTEM = Calls()


def commit_file(path: Path, data: bytes, *, calls: Calls = SYSTEM) -> bytes:
    """Create ``path`` holding ``data``, or leave the file that is already there alone.

    Returns:
        The bytes on disk under that name: ``data`` itself if this call created the file, else what the other
        writer committed. In both cases they are durable when the call returns.

    Raises:
        MachineError: disk full, not permitted, or a file system that can neither link nor rename without replacing.
    """
    try:
        created = not os.path.lexists(path) and _create(path, [data], calls)
        _sync_folder(path.parent, calls)
        return data if created else _read(path)
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
        joined = pieces if size > JOIN_BYTES else [b"".join(pieces)]
        created = not os.path.lexists(path) and _create(path, joined, calls)
        _sync_folder(path.parent, calls)
        return None if created else _read(path)
    except OSError as error:
        raise _machine_error(path, size, error) from error


def make_folders(root: Path, folder: Path) -> None:
    """Create ``folder`` and every folder missing between it and ``root``, durably; existing ones are fine.

    Names are made durable even if another process made them, which may not have come to that yet.
    """
    chain = [part for part in (folder, *folder.parents) if part == root or root in part.parents]
    if not chain:
        raise StoreError(f"{folder} lies outside the store {root}")
    for part in reversed(chain):
        try:
            part.mkdir(mode=DIR_MODE, exist_ok=True)
            if part != root:
                _sync_folder(part.parent, SYSTEM)
        except OSError as error:
            raise _machine_error(part, 0, error) from error


def publish(temporary: Path, final: Path, *, calls: Calls = SYSTEM) -> Literal["link", "rename", "exists"]:
    """Give a finished file its final name unless that name is taken; says by which way it got it.

    Raises:
        OSError: neither way works here, or the disk failed.
    """
    inode = os.stat(temporary).st_ino
    try:
        calls.link(temporary, final)
    except OSError as error:
        if _is_inode(final, inode):
            return "link"  # done, only the reply was lost
        if isinstance(error, FileExistsError):
            return "exists"
        if error.errno not in _NO_LINKS:
            raise
        return _publish_by_rename(temporary, final, inode, calls)
    return "link"


def _publish_by_rename(temporary: Path, final: Path, inode: int, calls: Calls) -> Literal["rename", "exists"]:
    try:
        calls.rename_no_replace(temporary, final)
    except OSError as error:
        if _is_inode(final, inode):
            return "rename"
        if isinstance(error, FileExistsError):
            return "exists"
        raise
    return "rename"


def _create(path: Path, pieces: Sequence[Buffer], calls: Calls) -> bool:
    """Write under a temporary name and publish; says whether the file is ours. Failures leave no temporary name."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, FILE_MODE)
    try:
        try:
            for piece in pieces:
                _write_all(fd, piece, calls)
            calls.fsync(fd)
        finally:
            os.close(fd)
        return publish(temporary, path, calls=calls) != "exists"
    finally:
        _remove(temporary, calls)


def _write_all(fd: int, data: Buffer, calls: Calls) -> None:
    view = memoryview(data).cast("B")
    while view:
        view = view[calls.write(fd, view) :]


def _remove(path: Path, calls: Calls) -> None:
    try:
        calls.unlink(path)
    except FileNotFoundError:  # it was renamed, or the reply to an earlier unlink was lost
        return


def _sync_folder(folder: Path, calls: Calls) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        calls.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot sync a folder and need not
            raise
    finally:
        os.close(fd)


def _read(path: Path) -> bytes:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        return file.read()


def _is_inode(path: Path, inode: int) -> bool:
    try:
        return os.lstat(path).st_ino == inode
    except OSError:
        return False


def _machine_error(path: Path, size: int, error: OSError) -> MachineError:
    if error.errno in _FULL:
        place = os.statvfs(path.parent)
        found = f"{place.f_bavail * place.f_frsize} bytes free ({error.strerror})"
        return MachineError(f"no room for {path}", found=found, expected=f"{size} bytes", remedy="free space, re-run")
    if error.errno in _NO_LINKS:
        remedy = "put the store on a file system with hard links or rename without replacement"
        return MachineError(f"{path} cannot be created only once here", found=error.strerror, remedy=remedy)
    return MachineError(f"{path} cannot be written", found=error.strerror)
