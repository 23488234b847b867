"""A folder of this machine as a place that files are copied to, under the contract of a remote one."""

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import StoreIncomplete
from .commit import commit_file, make_folders, make_root
from .files import read_file
from .remote import Listed


class FolderRemote:
    """A store's folder behind :class:`~.remote.Remote`: every file goes through the same commit as a writer's."""

    batch = 1

    def __init__(self, root: Path) -> None:
        self.root, self.url = root, str(root)

    def create(self, *, private: bool) -> None:  # noqa: ARG002 - a folder is as private as its parent
        """Make the folder."""
        make_root(self.root)

    def files(self) -> dict[str, Listed]:
        """Every file; temporary ones are not counted."""
        found = (path for path in self.root.rglob("*") if path.is_file() and not path.name.startswith("."))
        return {path.relative_to(self.root).as_posix(): Listed(path.stat().st_size, "") for path in found}

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return os.path.lexists(self.root / name)

    def get(self, name: str, *, limit: int) -> bytes:
        """A file, no link followed; FileNotFoundError if there is none, StoreCorrupt above ``limit`` bytes."""
        try:
            return read_file(self.root, self.root / name, limit=limit)
        except StoreIncomplete as error:
            raise FileNotFoundError(name) from error

    def put(self, files: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
        """Create files that are not there; returns the bytes of those that are there and differ."""
        others = {}
        for name, data in files:
            make_folders(self.root, (self.root / name).parent)
            found = commit_file(self.root / name, data)
            if found != data:
                others[name] = found
        return others

    def replace(self, name: str, data: bytes) -> None:
        """Nothing: a folder has no card."""
