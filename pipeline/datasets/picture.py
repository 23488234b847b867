"""One decoded frame, and the errors of one that cannot be had."""

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from ..errors import FrameError
from .source import TOLERANCE_S, Clip, LeRobotSource

REMEDY = (
    "copy or download the file again, or leave the episode out: `episodes` in the manifest, or "
    "`vtt extract --on-error skip-episode`"
)


@dataclass(frozen=True, eq=False)
class DecodedFrame:
    """One frame: which it is, the time that proves it (seconds, in its video or its episode), its pixels."""

    episode_index: int
    frame_index: int
    pts_s: float
    rgb: UInt8[np.ndarray, "h w 3"]

    @property
    def pixel_hash(self) -> str:
        """First 16 hex digits of the sha256 of the pixels' bytes (row by row, RGB)."""
        return hashlib.sha256(self.rgb).hexdigest()[:16]


def due_s(source: LeRobotSource, camera: str, episode: int, frame: int) -> float:
    """When a frame is to be shown: seconds in its video file, or in its episode if it is no video."""
    clip = source.clip(episode, camera)
    return (clip.start_s if isinstance(clip, Clip) else 0.0) + frame / source.fps


def missing(source: LeRobotSource, camera: str, episode: int, frame: int, last_s: float | None) -> FrameError:
    """The error of a video that has no frame at its time; ``last_s`` is the time of the nearest found."""
    time_s = due_s(source, camera, episode, frame)
    what = "is shorter than its index" if last_s is None or last_s < time_s else "lacks a frame"
    return FrameError(
        f"a video {what}: episode {episode}, camera {camera}, frame {frame}",
        found=f"no frame there in {source.root / source.clip(episode, camera).path}; the nearest is at {last_s} s",
        expected=f"a frame at {time_s:.4f} s, within {TOLERANCE_S} s",
        remedy=REMEDY,
    )


def damaged(source: LeRobotSource, camera: str, episode: int, frame: int, what: object) -> FrameError:
    """The error of a frame whose bytes are not what they should be."""
    clip = source.clip(episode, camera)
    return FrameError(
        f"a {'video' if isinstance(clip, Clip) else 'picture'} is damaged: "
        f"episode {episode}, camera {camera}, frame {frame}",
        found=f"{source.root / clip.path} at {due_s(source, camera, episode, frame):.4f} s: {what}",
        remedy=REMEDY,
    )
