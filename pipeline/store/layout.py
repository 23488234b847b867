"""Where everything in a feature store lies, and how its files are opened.

    store/
      vtt.json                                      schema version
      indexes/<index-id>.parquet                    rows; the id is the hash of the rows
      arrays/<index-id>/<feature>-<fp8>.claim       which format the array has, settled before it is made
      arrays/<index-id>/<feature>-<fp8>.zarr/       one array (or .h5/): its metadata and one file a part
      receipts/<index-id>/<feature>-<fp8>/<part>.json   what a finished part holds (+ <part>.parquet: its frames)
      skipped/<id>.json                             episodes whose frames could not be had
      snapshots/000N.json                           sealed lists
      quarantine/                                   what a repair took out; nothing in it is part of the store

Every file is created once and never changed. Names starting with "." are temporary and belong to nobody.
A part exists if and only if its receipt does.
"""

import os
import re
from collections.abc import Buffer, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import ConfigError
from ..place import Place, StoreUrl
from .commit import commit_file, commit_pieces, make_root
from .files import entries

SCHEMA = 1
"""The layout this code writes. Older layouts are read for ever, newer ones are refused by name."""

NEEDS = "0.1"
"""The oldest release of this package that reads :data:`SCHEMA`."""

PART_ROWS = 128
"""Rows a part: the unit of work, of commit, of checksum, of resume and of distribution."""

MAX_PART_ROWS = 512
MAX_PARTS = 10**6
MAX_SCHEMA_BYTES = 1 << 12
MAX_METADATA_BYTES = 4 << 20

FEATURE_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
FEATURE_KEY = re.compile(r"([a-z][a-z0-9_]{0,31})-([0-9a-f]{8})")
INDEX_ID = re.compile(r"[0-9a-f]{16}")
PART_NAME = re.compile(r"[0-9]{6}")
SKIPPED_NAME = re.compile(r"[0-9a-f]{16}")
_VISIBLE = re.compile(r"[^.][\s\S]*")


class Backing(Protocol):
    """What stands behind a store whose root is the local copy of a remote one (:mod:`.mirror`)."""

    url: StoreUrl

    def prepare(self) -> list[str]:
        """Make the remote place if it can be made; returns what lies at its top."""

    def refresh(self) -> None:
        """Bring the copy's small files to what the remote place has now."""

    def commit(self, path: Path, data: bytes) -> bytes:
        """Create a file at the remote place, then in the copy; returns what is there."""

    def exists(self, path: Path) -> bool:
        """Whether there is such a small file, here or there; afterwards it is here."""

    def expect(self, path: Path, size: int) -> None:
        """StoreIncomplete or StoreCorrupt unless the remote place has this file, of this size."""

    def provide(self, path: Path, size: int, sha256: str) -> None:
        """See to it that a part's file is here, whole."""


@dataclass(frozen=True)
class Layout:
    """The paths of one store. Every name is checked before it becomes part of a path.

    Args:
        root: the store's folder.
        remote: what stands behind it, if it is the local copy of a remote store.
    """

    root: Path
    remote: Backing | None = None

    @property
    def place(self) -> Place:
        """Where the store is, for people: its folder, or its URL."""
        return self.root if self.remote is None else self.remote.url

    def prepare(self) -> list[str]:
        """Make the store's folder; returns the names in it (at the remote place, if that is where the store is)."""
        make_root(self.root)
        if self.remote is None:
            return entries(self.root.resolve(), _VISIBLE, "")
        return sorted(name for name in self.remote.prepare() if not name.startswith("."))

    def commit(self, path: Path, data: bytes) -> bytes:
        """Create a file of the store unless it exists; returns the bytes that are there (:func:`.commit.commit_file`).

        In a remote store the remote place decides who was first.
        """
        return commit_file(path, data) if self.remote is None else self.remote.commit(path, data)

    def commit_pieces(self, path: Path, pieces: Sequence[Buffer]) -> bytes | None:
        """The same for buffers one after another (:func:`.commit.commit_pieces`); None if they are what is there."""
        if self.remote is None:
            return commit_pieces(path, pieces)
        data = b"".join(pieces)
        found = self.remote.commit(path, data)
        return None if found == data else found

    def exists(self, path: Path) -> bool:
        """Whether there is such a receipt; of a remote store, whether there is one by now."""
        return os.path.lexists(path) or (self.remote is not None and self.remote.exists(path))

    @property
    def schema_file(self) -> Path:
        """The file that says which layout this is."""
        return self.root / "vtt.json"

    @property
    def indexes(self) -> Path:
        """The folder of index tables."""
        return self.root / "indexes"

    @property
    def arrays(self) -> Path:
        """The folder of arrays, one folder an index."""
        return self.root / "arrays"

    @property
    def receipts(self) -> Path:
        """The folder of receipts, one folder an index."""
        return self.root / "receipts"

    @property
    def snapshots(self) -> Path:
        """The folder of sealed lists."""
        return self.root / "snapshots"

    @property
    def skipped(self) -> Path:
        """The folder of episodes that were left out."""
        return self.root / "skipped"

    @property
    def quarantine(self) -> Path:
        """The folder of files that a repair took out."""
        return self.root / "quarantine"

    def index_file(self, index_id: str) -> Path:
        """The table of one index."""
        return self.indexes / (checked(INDEX_ID, index_id, "an index id") + ".parquet")

    def skipped_file(self, name: str) -> Path:
        """The file that says why one episode was left out."""
        return self.skipped / (checked(SKIPPED_NAME, name, "the name of a skipped episode") + ".json")

    def array_dir(self, index_id: str, key: str, suffix: str) -> Path:
        """The folder of one array; ``suffix`` names its format (".zarr")."""
        index_id, key = checked(INDEX_ID, index_id, "an index id"), checked(FEATURE_KEY, key, "a feature key")
        return self.arrays / index_id / (key + suffix)

    def claim_file(self, index_id: str, key: str) -> Path:
        """The file that says which format an array has, created before the array."""
        index_id, key = checked(INDEX_ID, index_id, "an index id"), checked(FEATURE_KEY, key, "a feature key")
        return self.arrays / index_id / (key + ".claim")

    def quarantine_dir(self, index_id: str, key: str) -> Path:
        """Where the files of one array go when they are taken out."""
        index_id, key = checked(INDEX_ID, index_id, "an index id"), checked(FEATURE_KEY, key, "a feature key")
        return self.quarantine / index_id / key

    def receipts_dir(self, index_id: str, key: str) -> Path:
        """The folder of one array's receipts."""
        index_id, key = checked(INDEX_ID, index_id, "an index id"), checked(FEATURE_KEY, key, "a feature key")
        return self.receipts / index_id / key

    def receipt_file(self, index_id: str, key: str, part: int) -> Path:
        """The receipt of one part."""
        return self.receipts_dir(index_id, key) / (part_name(part) + ".json")

    def frames_file(self, index_id: str, key: str, part: int) -> Path:
        """The time stamps and pixel hashes behind one part's rows."""
        return self.receipts_dir(index_id, key) / (part_name(part) + ".parquet")


def part_name(part: int) -> str:
    """Six digits: part 7 is "000007". Raises ValueError outside 0 … 999999."""
    if not 0 <= part < MAX_PARTS:
        raise ValueError(f"part {part} is outside 0 … {MAX_PARTS - 1}")
    return f"{part:06d}"


def part_count(rows: int, part_rows: int) -> int:
    """Parts that hold ``rows`` rows; the last one may be shorter."""
    return -(-rows // part_rows)


def part_range(part: int, rows: int, part_rows: int) -> range:
    """The rows of one part."""
    return range(part * part_rows, min((part + 1) * part_rows, rows))


def checked(pattern: re.Pattern[str], name: str, what: str) -> str:
    """The name itself if it can be ``what``; else a ConfigError: no other name ever becomes part of a path."""
    if not pattern.fullmatch(name):
        raise ConfigError(f"{name!r} cannot be {what}", expected=pattern.pattern)
    return name
