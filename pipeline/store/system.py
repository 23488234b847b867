"""The system calls of a commit, and how a finished file gets its name: once, whoever else wants it, and for good."""

import ctypes
import errno
import os
from collections.abc import Buffer, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .files import retry_stale

NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EXDEV})
"""How a file system says that it cannot link, or not from here to there."""

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
    """The system calls of a commit (and of garbage collection), so that faults can be put at each of them."""

    write: Callable[[int, Sequence[Buffer]], int] = os.writev
    fsync: Callable[[int], None] = os.fsync
    link: Callable[[Path, Path], None] = os.link
    rename_no_replace: Callable[[Path, Path], None] = rename_no_replace
    unlink: Callable[[Path], None] = os.unlink
    rename: Callable[[Path, Path], None] = os.rename


SYSTEM = Calls()


def sync_folder(folder: Path, calls: Calls) -> None:
    """Make the names in a folder durable.

    Raises:
        OSError: it cannot be opened, or the disk failed; not EINVAL from a file system that syncs no folders.
    """
    fd = retry_stale(os.open, folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        calls.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot sync a folder and need not
            raise
    finally:
        os.close(fd)


def publish(temporary: Path, final: Path, *, calls: Calls = SYSTEM) -> Literal["link", "rename", "exists"]:
    """Give a finished file its final name unless that name is taken; says by which way it got it.

    Raises:
        OSError: neither way works here, or the disk failed.
    """
    inode = os.stat(temporary).st_ino
    try:
        retry_stale(calls.link, temporary, final)
    except OSError as error:
        if _is_inode(final, inode):
            return "link"  # done, only the reply was lost
        if isinstance(error, FileExistsError):
            return "exists"
        if error.errno not in NO_LINKS:
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


def _is_inode(path: Path, inode: int) -> bool:
    try:
        return os.lstat(path).st_ino == inode
    except OSError:
        return False
