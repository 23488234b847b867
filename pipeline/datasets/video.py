"""Frames out of a dataset's videos: one sequential decode, every frame proven by its presentation time.

A frame of an episode is the one whose presentation time lies within 1e-4 s of ``start of the clip + frame_index /
fps``. There is no other way to get one: a missing frame is an error, never its neighbour.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from ..errors import DatasetError
from .source import TOLERANCE_S, LeRobotSource

SEEK_BEYOND_S = 1.0  # a gap that is jumped over rather than decoded
STEPS_BACK_S = (0.0, 2.0, 10.0, float("inf"))  # where B-frames let a seek land behind its target


@dataclass(frozen=True, eq=False)
class DecodedFrame:
    """One frame: which it is, its presentation time in its video file (seconds), its pixels."""

    episode_index: int
    frame_index: int
    pts_s: float
    rgb: UInt8[np.ndarray, "h w 3"]

    @property
    def pixel_hash(self) -> str:
        """First 16 hex digits of the sha256 of the pixels' bytes (row by row, RGB)."""
        return hashlib.sha256(self.rgb).hexdigest()[:16]


def decode_frames(
    source: LeRobotSource, episode: int, camera: str, frame_indices: Iterable[int], *, threads: int = 1
) -> Iterator[DecodedFrame]:
    """Decode frames of one episode and camera, in the order asked for; rising order costs one pass.

    Args:
        source: the dataset.
        episode: an episode index.
        camera: a short camera name.
        frame_indices: frames of that episode.
        threads: threads of the decoder; 0 leaves the choice to it. The pixels do not depend on it, but with more than
            one the error of a damaged video may name a frame up to the decoder's look-ahead too early.

    Raises:
        DatasetError: a video that is damaged or shorter than its index (episode, camera and time are named).
    """
    return stream_frames(source, camera, ((episode, frame) for frame in frame_indices), threads=threads)


def stream_frames(
    source: LeRobotSource, camera: str, wanted: Iterable[tuple[int, int]], *, threads: int = 1
) -> Iterator[DecodedFrame]:
    """Decode (episode index, frame index) pairs of one camera; a file that holds consecutive episodes is opened once.

    Raises: see :func:`decode_frames`.
    """
    for path, members in itertools.groupby(wanted, key=lambda pair: source.clip(pair[0], camera).path):
        with _opened(source, str(path), threads) as container:
            cursor = _Cursor(container)
            for episode, frame in members:
                yield _decode(source, camera, cursor, episode, frame)


def check_video(source: LeRobotSource, episode: int, camera: str) -> None:
    """Check, without decoding, that the video has a packet for every frame of an episode.

    Raises:
        DatasetError: a video that cannot be opened, or is shorter than its index.
    """
    clip, length = source.clip(episode, camera), source.episode(episode).length
    end_s = clip.start_s + length / source.fps + SEEK_BEYOND_S
    with _opened(source, str(clip.path), threads=1) as container:
        stream = container.streams.video[0]
        _seek(container, stream, clip.start_s)
        times = _packet_times(container, stream, end_s)
    found = np.sort([time for time in times if time <= end_s])
    expected = clip.start_s + np.arange(length) / source.fps
    there = np.searchsorted(found, expected + TOLERANCE_S) > np.searchsorted(found, expected - TOLERANCE_S)
    if not there.all():
        frame = int(there.argmin())
        raise _missing(source, camera, episode, frame, max(times, default=None))


def _packet_times(container: Any, stream: Any, end_s: float) -> list[float]:
    """Presentation times of the packets from here on; stops at the first that is decoded after ``end_s``."""
    times = []
    for packet in container.demux(stream):
        if packet.dts is not None and packet.dts * packet.time_base > end_s:
            break  # nothing later can be shown before: pts >= dts
        if packet.pts is not None:
            times.append(float(packet.pts * packet.time_base))
    return times


class _Cursor:
    """A position in one video file, moved forward by decoding and otherwise by seeking to the keyframe before."""

    def __init__(self, container: Any) -> None:
        self._container, self._stream = container, container.streams.video[0]
        self._frames: Iterator[Any] = iter(())
        self._last: Any = None

    @property
    def last_s(self) -> float | None:
        """Presentation time of the frame decoded last, in seconds."""
        return None if self._last is None else float(self._last.pts * self._last.time_base)

    def move_to(self, time_s: float) -> Any:
        """The first frame not earlier than ``time_s`` (less the tolerance); None behind the last frame."""
        last_s = self.last_s
        if last_s is None or not last_s - TOLERANCE_S <= time_s <= last_s + SEEK_BEYOND_S:
            self._jump(time_s)
        while self._last is not None and self.last_s < time_s - TOLERANCE_S:  # type: ignore[operator]
            self._last = next(self._frames, None)
        return self._last

    def _jump(self, time_s: float) -> None:
        for back_s in STEPS_BACK_S:
            _seek(self._container, self._stream, max(0.0, time_s - back_s))
            self._frames = self._decoded()
            self._last = next(self._frames, None)
            if self.last_s is not None and self.last_s <= time_s + TOLERANCE_S:
                return

    def _decoded(self) -> Iterator[Any]:
        """Frames from here on; a damaged packet is an error only after the whole frames before it were given out."""
        for packet in self._container.demux(self._stream):
            try:
                yield from (frame for frame in packet.decode() if frame.pts is not None)
            except av.FFmpegError as error:
                with suppress(av.FFmpegError):
                    yield from self._stream.codec_context.decode(None)  # decoders work ahead
                raise error from None


def _decode(source: LeRobotSource, camera: str, cursor: _Cursor, episode: int, frame: int) -> DecodedFrame:
    length, start_s = source.episode(episode).length, source.clip(episode, camera).start_s
    if not 0 <= frame < length:
        raise DatasetError(f"episode {episode} has no frame {frame}", expected=f"0 to {length - 1}")
    time_s, before_s = start_s + frame / source.fps, cursor.last_s
    try:
        picture = cursor.move_to(time_s)
    except av.FFmpegError as error:
        raise _damaged(source, camera, episode, frame, str(error)) from None
    if picture is None or abs(picture.pts * picture.time_base - time_s) > TOLERANCE_S:
        raise _missing(source, camera, episode, frame, cursor.last_s or before_s)
    if picture.is_corrupt:
        raise _damaged(source, camera, episode, frame, "the decoder marks the frame as corrupt")
    rgb = np.ascontiguousarray(picture.to_ndarray(format="rgb24"))
    if rgb.shape[:2] != source.frame_sizes[camera]:
        raise _damaged(source, camera, episode, frame, f"{rgb.shape[:2]} pixels, not {source.frame_sizes[camera]}")
    return DecodedFrame(episode, frame, float(picture.pts * picture.time_base), rgb)


@contextmanager
def _opened(source: LeRobotSource, path: str, threads: int) -> Iterator[Any]:
    try:
        container = av.open(str(source.root / path))
    except (OSError, av.FFmpegError) as error:
        raise DatasetError(
            f"the video {source.root / path} cannot be opened", found=error, remedy="copy or download it again"
        ) from None
    with container:
        if not container.streams.video:
            raise DatasetError(f"the video {source.root / path} holds no video stream")
        container.streams.video[0].codec_context.thread_count = threads
        yield container


def _seek(container: Any, stream: Any, time_s: float) -> None:
    container.seek(int((time_s + TOLERANCE_S) / stream.time_base), stream=stream, backward=True)


def _missing(source: LeRobotSource, camera: str, episode: int, frame: int, last_s: float | None) -> DatasetError:
    clip = source.clip(episode, camera)
    time_s = clip.start_s + frame / source.fps
    what = "is shorter than its index" if last_s is None or last_s < time_s else "lacks a frame"
    return DatasetError(
        f"a video {what}: episode {episode}, camera {camera}, frame {frame}",
        found=f"no frame there in {source.root / clip.path}; the nearest found is at {last_s} s",
        expected=f"a frame at {time_s:.4f} s, within {TOLERANCE_S} s",
        remedy="copy or download the video again, or leave the episode out with `episodes` in the manifest",
    )


def _damaged(source: LeRobotSource, camera: str, episode: int, frame: int, what: str) -> DatasetError:
    clip = source.clip(episode, camera)
    return DatasetError(
        f"a video is damaged: episode {episode}, camera {camera}, frame {frame}",
        found=f"{source.root / clip.path} at {clip.start_s + frame / source.fps:.4f} s: {what}",
        remedy="copy or download the video again, or leave the episode out with `episodes` in the manifest",
    )
