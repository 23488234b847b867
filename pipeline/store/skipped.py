"""Episodes that an extraction left out because their frames could not be had.

One small file an episode, created once, named by the hash of what it says. It stays when the dataset is mended later:
an episode counts as skipped for a feature only while the feature has no row of it.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import StoreCorrupt
from ..spec import canonical_json, sha256_json
from .commit import make_folders
from .files import entries, read_file
from .layout import SCHEMA, SKIPPED_NAME, Layout

MAX_SKIPPED_BYTES = 1 << 14
MAX_REASON = 2000

type EpisodeId = tuple[str, int]
"""(repo_id, episode index)."""


class Skipped(BaseModel):
    """One episode that was left out, and why."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    schema_version: Annotated[int, Field(ge=1, le=SCHEMA)] = SCHEMA
    repo_id: Annotated[str, Field(min_length=1, max_length=200)]
    revision: Annotated[str, Field(min_length=1, max_length=200)]
    episode_index: Annotated[int, Field(ge=0, lt=1 << 40)]
    reason: Annotated[str, Field(max_length=MAX_REASON)]

    @property
    def episode(self) -> EpisodeId:
        """Which episode of which dataset."""
        return self.repo_id, self.episode_index

    @property
    def name(self) -> str:
        """The name of its file: 16 hex digits of the hash of everything it says."""
        return sha256_json(self.model_dump())[:16]

    def to_json(self) -> dict[str, Any]:
        """Everything it says, as plain data."""
        return self.model_dump()

    def render(self) -> str:
        """One line for people."""
        return f"{self.repo_id} episode {self.episode_index}: {self.reason.partition('\n')[0]}"


def record_skipped(layout: Layout, skipped: Iterable[Skipped]) -> None:
    """Create the files of episodes that are left out; an episode that has one for its revision gets no second.

    Raises:
        MachineError: the store cannot be written.
    """
    known = {(one.episode, one.revision) for one in read_skipped(layout)}
    for one in skipped:
        if (one.episode, one.revision) not in known:
            make_folders(layout.root, layout.skipped)
            layout.commit(layout.skipped_file(one.name), skipped_text(one))


def read_skipped(layout: Layout) -> list[Skipped]:
    """Every episode that was ever left out, ordered; StoreCorrupt if a file is not what was written."""
    found = [_read(layout, name) for name in entries(layout.skipped, SKIPPED_NAME, ".json")]
    return sorted(found, key=lambda one: (one.episode, one.revision))


def still_skipped(layout: Layout, rows: pa.Table) -> dict[EpisodeId, Skipped]:
    """The episodes that were left out and have no row among ``rows``, the rows of a feature that can be read."""
    return {one.episode: one for one in read_skipped(layout) if not _has_row(rows, one)}


def skipped_text(skipped: Skipped) -> bytes:
    """The bytes of its file."""
    return (canonical_json(skipped.model_dump()) + "\n").encode()


def parse_skipped(path: Path | str, name: str, data: bytes) -> Skipped:
    """What a file says; StoreCorrupt (naming ``path``) unless its bytes are those that its name is the hash of."""
    try:
        found = Skipped.model_validate(json.loads(data))
        intact = found.name == name and skipped_text(found) == data
    except (ValueError, TypeError, RecursionError, ValidationError) as error:
        raise StoreCorrupt(f"{path} does not name a skipped episode", found=type(error).__name__) from error
    if not intact:
        raise StoreCorrupt(f"{path} was changed after it was written", remedy="repair the store")
    return found


def holds_skipped(table: pa.Table, skipped: Mapping[EpisodeId, Any]) -> bool:
    """Whether a row of an index belongs to one of these episodes."""
    return any(_rows_of(table, episode).num_rows for episode in skipped)


def _read(layout: Layout, name: str) -> Skipped:
    path = layout.skipped_file(name)
    return parse_skipped(path, name, read_file(layout.root, path, limit=MAX_SKIPPED_BYTES))


def _has_row(rows: pa.Table, one: Skipped) -> bool:
    return bool(_rows_of(rows, one.episode).num_rows)


def _rows_of(table: pa.Table, episode: EpisodeId) -> pa.Table:
    repo_id, index = episode
    return table.filter(pc.and_(pc.equal(table["repo_id"], repo_id), pc.equal(table["episode_index"], index)))
