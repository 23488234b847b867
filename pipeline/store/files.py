"""The plain files of a store, read in the one way that follows no link and believes no size.

Nothing here knows what the files are; :mod:`.layout` knows where they lie.
"""

import errno
import logging
import os
import re
import stat
from collections.abc import Callable
from functools import cache
from pathlib import Path

from ..errors import StoreCorrupt, StoreError, StoreIncomplete

MAX_SMALL_FILE = 64 << 20

_LOG = logging.getLogger(__name__)
_NO_LINKS = "put the files themselves into the store"


def entries(folder: Path, pattern: re.Pattern[str], suffix: str) -> list[str]:
    """Sorted names in a folder that match the pattern once the suffix is taken off; a missing folder has none.

    Raises:
        StoreError: it is a link, no folder, or cannot be read.
    """
    try:
        if folder.is_symlink():
            raise StoreError(f"{folder} is a symbolic link", remedy=_NO_LINKS)
        names = retry_stale(os.listdir, folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{folder} cannot be listed", found=error.strerror) from error
    stems = (name.removesuffix(suffix) for name in names if name.endswith(suffix))
    return sorted(stem for stem in stems if pattern.fullmatch(stem))


def open_file(root: Path, path: Path) -> int:
    """Open a regular file below ``root`` for reading, following no link on the way; the caller closes it.

    Raises:
        StoreIncomplete: there is no such file.
        StoreError: it, or a folder on the way from ``root``, is a link or no regular file.
    """
    refuse_links(root, path.parent)
    try:
        fd = retry_stale(os.open, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise StoreIncomplete(f"{path} is missing") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be opened", found=_kind(path, error)) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise StoreError(f"{path} is not a regular file", remedy="stores hold plain files only")
    return fd


def read_file(root: Path, path: Path, *, limit: int = MAX_SMALL_FILE) -> bytes:
    """The bytes of a file below ``root``; raises as :func:`open_file`, and StoreCorrupt above ``limit`` bytes."""
    with open(open_file(root, path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise StoreCorrupt(f"{path} is too large", found=f"{size} bytes", expected=f"at most {limit}")
        try:
            return file.read(size)
        except (OSError, MemoryError) as error:
            raise StoreError(f"{path} cannot be read", found=error) from error


def refuse_links(root: Path, folder: Path) -> None:
    """StoreError if any folder between ``root`` (not itself checked) and ``folder`` is a symbolic link."""
    for part in [folder, *folder.parents]:
        if part == root:
            return
        try:
            linked = part.is_symlink()
        except OSError as error:
            raise StoreError(f"{part} cannot be looked at", found=error.strerror) from error
        if linked:
            raise StoreError(f"{part} is a symbolic link", remedy=_NO_LINKS)
    raise StoreError(f"{folder} lies outside the store {root}")


def retry_stale[**P, R](call: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
    """Call once more if a network file system says that what it knew of a name is stale (ESTALE)."""
    try:
        return call(*arguments, **options)
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
    return call(*arguments, **options)


def _kind(path: Path, error: OSError) -> str:
    return "a symbolic link" if path.is_symlink() else str(error.strerror)


def warn_if_open_to_all(folder: Path) -> None:
    """Warn, once a process, of a folder that every user of the machine may write to."""
    if os.stat(folder).st_mode & stat.S_IWOTH:
        _warn_once(f"{folder} is writable for every user of this machine; close it with `chmod o-w {folder}`")


@cache
def _warn_once(text: str) -> None:
    _LOG.warning(text)
