"""Folders that appear whole or not at all, and links that always lead somewhere.

    files under a temporary name -> fsync each -> fsync the folders -> rename -> fsync the parent

Only then is a link moved to them: a new link, renamed over the old one. Whatever dies on the way, and wherever, the
old link leads to the old folder. Temporary names begin with a dot; whoever writes next removes them.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..pipeline.errors import MachineError
from ..pipeline.store.system import SYSTEM, sync_folder

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def publish(final: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Make a folder of these files, its name last; one that stands under that name is set aside before.

    Args:
        final: the folder.
        files: names inside it and what they hold; taken one by one, so that they need not be in memory together.

    Raises:
        MachineError: the disk is full or failed; nothing stands under the name that was not there before.
    """
    temporary = final.with_name(hidden(final))
    with own_errors(final):
        try:
            for name, data in files:
                path = temporary / name
                path.parent.mkdir(parents=True, exist_ok=True)
                write(path, data)
            for folder in (*(path for path in temporary.rglob("*") if path.is_dir()), temporary):
                sync_folder(folder, SYSTEM)
            if final.exists():  # damaged, or of an earlier life of the run
                SYSTEM.rename(final, final.with_name(hidden(final)))
            SYSTEM.rename(temporary, final)
            sync_folder(final.parent, SYSTEM)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def replace(path: Path, data: bytes) -> None:
    """Write one file over what is there, in one step; raises MachineError and leaves what was there."""
    temporary = path.with_name(hidden(path))
    with own_errors(path):
        try:
            write(temporary, data)
            SYSTEM.rename(temporary, path)
            sync_folder(path.parent, SYSTEM)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def point(link: Path, target: Path) -> None:
    """Point a relative link at a folder beside or below it, in one step; raises MachineError."""
    temporary = link.with_name(hidden(link))
    with own_errors(link):
        try:
            os.symlink(target.relative_to(link.parent), temporary)
            SYSTEM.rename(temporary, link)
            sync_folder(link.parent, SYSTEM)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Take a folder's name away, so that it is found neither whole nor half; returns what it is called now."""
    aside = path.with_name(hidden(path))
    with own_errors(path):
        SYSTEM.rename(path, aside)
    return aside


def write(path: Path, data: bytes) -> None:
    """Write a new file and make its bytes durable; its name is not yet. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        left = memoryview(data)
        while left:
            left = left[SYSTEM.write(descriptor, [left]) :]
        SYSTEM.fsync(descriptor)
    finally:
        os.close(descriptor)


def hidden(path: Path) -> str:
    """A temporary name for what will be, or was, ``path``."""
    return f".{path.name}.{secrets.token_hex(8)}"


@contextmanager
def own_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors while ``path`` is written into a MachineError."""
    try:
        yield
    except OSError as error:
        raise _machine_error(path, error) from error


def _machine_error(path: Path, error: OSError) -> MachineError:
    if error.errno not in _FULL:
        return MachineError(f"{path} cannot be written", found=error.strerror, remedy="what was there is intact")
    place = os.statvfs(next(folder for folder in path.parents if folder.exists()))
    return MachineError(
        f"no room for {path}",
        found=f"{place.f_bavail * place.f_frsize} bytes free ({error.strerror})",
        expected="room for one more checkpoint than are kept",
        remedy="free space, then run the same command with --resume: what was saved before is intact",
    )
