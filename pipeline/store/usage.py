"""Where a store's bytes are."""

import os
import shutil
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..words import counted
from .format import SUFFIXES
from .layout import FEATURE_KEY
from .listing import readable_bytes
from .store import FeatureStore

KINDS = ("arrays", "receipts", "indexes", "skipped", "snapshots", "quarantine", "temporary", "other")


@dataclass(frozen=True)
class Usage:
    """Bytes and files of a store.

    Args:
        path: the store.
        bytes: by kind (:data:`KINDS`): the folder they lie in, or ``temporary`` wherever they lie.
        files: how many, by kind.
        features: bytes of arrays and receipts, by feature key.
        free_bytes: free on the store's disk.
    """

    path: Path
    bytes: dict[str, int]
    files: dict[str, int]
    features: dict[str, int]
    free_bytes: int

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(self.bytes.values())

    def to_json(self) -> dict[str, Any]:
        """Everything it says, as plain data."""
        said = {"path": str(self.path), "bytes": self.total, "free_bytes": self.free_bytes}
        return said | {"kinds": self.bytes, "files": self.files, "features": self.features}

    def render(self) -> str:
        """The same as a table for people; what is empty is left out."""
        files = counted(sum(self.files.values()), "file")
        head = (
            f"{self.path}: {readable_bytes(self.total)} in {files}, {readable_bytes(self.free_bytes)} free on its disk"
        )
        features = sorted(self.features.items(), key=lambda item: -item[1])
        kinds = [(kind, size) for kind, size in self.bytes.items() if self.files[kind]]
        wide = max(len(name) for name, _ in [*features, *kinds])
        notes = {kind: counted(self.files[kind], "file") for kind, _ in kinds}
        tables = [
            [
                f"  {name:<{wide}} {readable_bytes(size):>9} {size / self.total:>5.0%}  {notes.get(name, '')}".rstrip()
                for name, size in table
            ]
            for table in (features, kinds)
        ]
        return "\n".join([head, *(line for table in tables if table for line in ["", *table])])


def measure(path: str | Path) -> Usage:
    """Count a store's bytes as its files are long; nothing in them is read, so damage is no hindrance.

    Raises:
        StoreError: the folder is no feature store.
    """
    layout = FeatureStore.open(path).layout
    sizes, files, features = Counter[str](), Counter[str](), Counter[str]()
    for file, size in _files(layout.root):
        parts = file.relative_to(layout.root).parts
        temporary = parts[-1].startswith(".") and len(parts) > 1
        kind = "temporary" if temporary else parts[0] if parts[0] in KINDS and len(parts) > 1 else "other"
        sizes[kind] += size
        files[kind] += 1
        key = _key(parts[2]) if kind in ("arrays", "receipts") and len(parts) > 2 else None
        if key is not None:
            features[key] += size
    ordered = {kind: sizes[kind] for kind in KINDS}
    return Usage(
        layout.root, ordered, {kind: files[kind] for kind in KINDS}, dict(features), shutil.disk_usage(path).free
    )


def _key(name: str) -> str | None:
    for suffix in (*SUFFIXES, ".claim"):
        name = name.removesuffix(suffix)
    return name if FEATURE_KEY.fullmatch(name) else None


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    for name in sorted(os.listdir(folder)):
        path = folder / name
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(found.st_mode):
            yield from _files(path)
        else:
            yield path, found.st_size
