"""Frames out of a dataset's videos: one sequential decode, every frame proven by its presentation time.

A frame of an episode is the one whose presentation time lies within 1e-4 s of ``start of the clip + frame_index /
fps``. There is no other way to get one: a missing frame is an error, never its neighbour.
"""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import av
import numpy as np

from .picture import DecodedFrame, damaged, due_s, missing
from .source import TOLERANCE_S, Clip, LeRobotSource

SEEK_BEYOND_S = 1.0  # a gap that is jumped over rather than decoded
STEPS_BACK_S = (0.0, 2.0, 10.0, float("inf"))  # where B-frames let a seek land behind its target


def stream_video(
    source: LeRobotSource, camera: str, wanted: Iterable[tuple[int, int]], *, threads: int = 1
) -> Iterator[DecodedFrame]:
    """Decode (episode index, frame index) pairs that lie in one video file of a camera.

    Raises:
        FrameError: the video is damaged or shorter than its index (episode, camera and time are named).
    """
    pairs = iter(wanted)
    for first in pairs:  # once: the rest is taken inside
        with _opened(source, camera, first, threads) as container:
            cursor = _Cursor(container)
            for episode, frame in itertools.chain([first], pairs):
                yield _decode(source, camera, cursor, episode, frame)


def check_video(source: LeRobotSource, episode: int, camera: str, clip: Clip) -> None:
    """Check, without decoding, that a clip has a packet for every frame of its episode, and none between them.

    Raises:
        FrameError: the video cannot be opened, is shorter than its index, or was recorded at another rate.
    """
    length = source.episode(episode).length
    end_s = clip.start_s + length / source.fps + SEEK_BEYOND_S
    with _opened(source, camera, (episode, 0), threads=1) as container:
        stream = container.streams.video[0]
        try:
            _seek(container, stream, clip.start_s)
            times = _packet_times(container, stream, end_s)
        except av.FFmpegError as error:
            raise damaged(source, camera, episode, 0, error) from None
    found = np.unique([time for time in times if time <= end_s])
    expected = clip.start_s + np.arange(length) / source.fps
    first = np.searchsorted(found, expected - TOLERANCE_S)
    there = np.searchsorted(found, expected + TOLERANCE_S) > first
    if not there.all():
        raise missing(source, camera, episode, int(there.argmin()), max(times, default=None))
    if first[-1] - first[0] != length - 1:
        frame = int((np.diff(first) > 1).argmax())
        raise damaged(
            source, camera, episode, frame, f"frames between this one and the next: not a video of {source.fps:g} Hz"
        )


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
    time_s, before_s = due_s(source, camera, episode, frame), cursor.last_s
    try:
        picture = cursor.move_to(time_s)
    except av.FFmpegError as error:
        raise damaged(source, camera, episode, frame, str(error)) from None
    if picture is None or abs(picture.pts * picture.time_base - time_s) > TOLERANCE_S:
        raise missing(source, camera, episode, frame, cursor.last_s or before_s)
    if picture.is_corrupt:
        raise damaged(source, camera, episode, frame, "the decoder marks the frame as corrupt")
    rgb = np.ascontiguousarray(picture.to_ndarray(format="rgb24"))
    if rgb.shape[:2] != source.frame_sizes[camera]:
        raise damaged(source, camera, episode, frame, f"{rgb.shape[:2]} pixels, not {source.frame_sizes[camera]}")
    return DecodedFrame(episode, frame, float(picture.pts * picture.time_base), rgb)


@contextmanager
def _opened(source: LeRobotSource, camera: str, first: tuple[int, int], threads: int) -> Iterator[Any]:
    try:
        container = av.open(str(source.root / source.clip(first[0], camera).path))
    except (OSError, av.FFmpegError) as error:
        raise damaged(source, camera, *first, f"it cannot be opened: {error}") from None
    with container:
        if not container.streams.video:
            raise damaged(source, camera, *first, "it holds no video stream")
        context = container.streams.video[0].codec_context
        if (context.height, context.width) != source.frame_sizes[camera]:  # before memory is taken for it
            found = f"{(context.height, context.width)} pixels, not {source.frame_sizes[camera]}"
            raise damaged(source, camera, *first, found)
        context.thread_count = threads
        yield container


def _seek(container: Any, stream: Any, time_s: float) -> None:
    container.seek(int((time_s + TOLERANCE_S) / stream.time_base), stream=stream, backward=True)
