"""Frames by name and by number: what a row of a frame or query table is about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int


class FrameId(NamedTuple):
    """One frame; sorts like the frame table."""

    repo_id: str
    episode: int
    camera: str
    frame: int


def frame_ids(table: pa.Table) -> list[FrameId]:
    """The frame of every row of a frame or query table."""
    columns = (table.column(name).to_pylist() for name in ("repo_id", "episode_index", "camera", "frame_index"))
    return [FrameId(*values) for values in zip(*columns, strict=True)]


def instructions(table: pa.Table) -> list[str | None]:
    """The instruction of every row; None in a frame table."""
    if "instruction" not in table.column_names:
        return [None] * table.num_rows
    values: list[str | None] = table.column("instruction").to_pylist()
    return values


@dataclass(frozen=True)
class FrameCodes:
    """Frames as integers that sort like them."""

    repos: Sequence[str]
    cameras: Sequence[str]
    shape: tuple[int, int, int, int]

    @classmethod
    def of(cls, tables: Sequence[pa.Table]) -> "FrameCodes":
        """Of every frame in some tables."""
        repos, cameras = (
            sorted({text for table in tables for text in table.column(name).unique().to_pylist()})
            for name in ("repo_id", "camera")
        )
        episodes, frames = (
            1 + max((pc.max(table.column(name)).as_py() or 0 for table in tables), default=0)
            for name in ("episode_index", "frame_index")
        )
        return cls(repos, cameras, (max(len(repos), 1), episodes, max(len(cameras), 1), frames))

    def encode(self, table: pa.Table) -> Int[np.ndarray, " rows"]:
        """The code of every row's frame."""
        repos = pc.index_in(table.column("repo_id"), pa.array(self.repos, pa.string())).to_numpy()
        cameras = pc.index_in(table.column("camera"), pa.array(self.cameras, pa.string())).to_numpy()
        episodes, frames = (table.column(name).to_numpy() for name in ("episode_index", "frame_index"))
        return np.ravel_multi_index((repos, episodes, cameras, frames), self.shape).astype(np.int64, copy=False)

    def decode(self, codes: Int[np.ndarray, " n"]) -> list[FrameId]:
        """The frames of some codes."""
        columns = (column.tolist() for column in np.unravel_index(codes, self.shape))
        return [
            FrameId(self.repos[repo], episode, self.cameras[camera], frame)
            for repo, episode, camera, frame in zip(*columns, strict=True)
        ]
