"""Pictures of a dataset for figures, one frame at a time."""

from functools import cache
from typing import NoReturn, Protocol

import numpy as np
from jaxtyping import UInt8

from ..pipeline.datasets.lerobot import LeRobotSource, decode_frames, open_source
from ..pipeline.errors import DatasetError, VisualThoughtError
from ..pipeline.manifest import DatasetManifest
from .config import EvalConfig


class Frames(Protocol):
    """How figures get pictures."""

    def __call__(self, episode: int, camera: str, frame: int, /) -> UInt8[np.ndarray, "h w 3"]:
        """The picture of one frame. Raises DatasetError."""


def open_frames(manifest: DatasetManifest, config: EvalConfig) -> Frames:
    """The pictures of a manifest's dataset; of one that cannot be opened, each asking is the error that says why."""
    remembered = config.hash_cache and config.hash_cache / "datasets.json"
    try:
        return frames_of(open_source(manifest, config.lerobot_home, hash_cache=remembered))
    except VisualThoughtError as error:
        return no_frames(error, remedy=_remedy(manifest, config) or error.remedy)


def _remedy(manifest: DatasetManifest, config: EvalConfig) -> str | None:
    """What to do on this command line, whoever found the fault."""
    if config.root is not None:
        return f"correct --root, which says {config.root}"
    return None if manifest.root and manifest.root.exists() else "say where it is with --root"


def frames_of(source: LeRobotSource) -> Frames:
    """The pictures of an open dataset; one that several figures show is decoded once."""

    @cache
    def frames(episode: int, camera: str, frame: int, /) -> UInt8[np.ndarray, "h w 3"]:
        return next(decode_frames(source, episode, camera, [frame])).rgb

    return frames


def no_frames(error: VisualThoughtError, *, remedy: str | None) -> Frames:
    """Pictures that cannot be had."""

    def frames(_episode: int, _camera: str, _frame: int, /) -> NoReturn:
        raise DatasetError(
            f"the dataset could not be read: {error.problem}",
            found=error.found,
            expected=error.expected,
            remedy=remedy,
        )

    return frames
