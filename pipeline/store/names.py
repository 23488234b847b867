"""Which files belong to a store, by their names alone: what a remote place lists is believed no further than this."""

import re
from enum import IntEnum
from typing import NamedTuple

from .array import split_folder
from .files import MAX_SMALL_FILE
from .format import SUFFIXES, load_format
from .index import MAX_INDEX_BYTES
from .layout import FEATURE_KEY, INDEX_ID, PART_NAME, SKIPPED_NAME
from .receipt import MAX_PART_BYTES, MAX_RECEIPT_BYTES
from .skipped import MAX_SKIPPED_BYTES


class Kind(IntEnum):
    """What a file is. In this order files are copied: nothing is there before what it rests on."""

    SCHEMA = 0
    INDEX = 1
    CLAIM = 2
    METADATA = 3
    SKIPPED = 4
    PART = 5
    FRAMES = 6
    RECEIPT = 7
    SNAPSHOT = 8


LIMITS = {
    Kind.SCHEMA: 1 << 12,
    Kind.INDEX: MAX_INDEX_BYTES,
    Kind.CLAIM: 1 << 12,
    Kind.METADATA: MAX_SMALL_FILE,
    Kind.SKIPPED: MAX_SKIPPED_BYTES,
    Kind.PART: MAX_PART_BYTES,
    Kind.FRAMES: MAX_SMALL_FILE,
    Kind.RECEIPT: MAX_RECEIPT_BYTES,
    Kind.SNAPSHOT: MAX_INDEX_BYTES,
}
"""The most bytes a file of a kind may have."""


class StoreName(NamedTuple):
    """A file of a store.

    ``index_id`` and ``key`` are "" where the kind has none; ``folder`` is the array's folder name; ``part`` its number
    for receipts and frames, else -1.
    """

    kind: Kind
    index_id: str = ""
    key: str = ""
    folder: str = ""
    part: int = -1


_ID, _KEY = INDEX_ID.pattern, FEATURE_KEY.pattern
_FOLDER = rf"(?P<folder>{_KEY}(?:{'|'.join(map(re.escape, SUFFIXES))}))"
_PATTERNS = {
    Kind.SCHEMA: r"vtt\.json",
    Kind.INDEX: rf"indexes/(?P<id>{_ID})\.parquet",
    Kind.CLAIM: rf"arrays/(?P<id>{_ID})/(?P<key>{_KEY})\.claim",
    Kind.SKIPPED: rf"skipped/(?P<name>{SKIPPED_NAME.pattern})\.json",
    Kind.PART: rf"arrays/(?P<id>{_ID})/{_FOLDER}/[a-z0-9][a-z0-9.]*",
    Kind.FRAMES: rf"receipts/(?P<id>{_ID})/(?P<key>{_KEY})/(?P<part>{PART_NAME.pattern})\.parquet",
    Kind.RECEIPT: rf"receipts/(?P<id>{_ID})/(?P<key>{_KEY})/(?P<part>{PART_NAME.pattern})\.json",
    Kind.SNAPSHOT: r"snapshots/[0-9]{4,9}\.json",
}
_COMPILED = {kind: re.compile(pattern) for kind, pattern in _PATTERNS.items()}


def parse_name(name: str) -> StoreName | None:
    """What the file of that name (relative to the store, with "/") is; None if it is no file of a store."""
    for kind, pattern in _COMPILED.items():
        match = pattern.fullmatch(name)
        if match is None:
            continue
        said = match.groupdict(default="")
        folder = said.get("folder", "")
        key = split_folder(folder)[0] if folder else said.get("key", "")
        if kind is Kind.PART and name.rpartition("/")[2] == _metadata_name(folder):
            kind = Kind.METADATA  # noqa: PLW2901 - both lie in the array's folder
        return StoreName(kind, said.get("id", ""), key, folder, int(said.get("part") or -1))
    return None


def _metadata_name(folder: str) -> str:
    return load_format(SUFFIXES[split_folder(folder)[1]]).metadata_name
