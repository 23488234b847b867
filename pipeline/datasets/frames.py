"""Frames of a dataset, however they are kept: one sequential pass, every frame proven to be the one asked for.

A frame comes with the time that proves it: of a video, its presentation time; of pictures stored one by one, the
``timestamp`` beside it. There is no other way to get one: a missing frame is an error, never its neighbour.
"""

import itertools
from collections.abc import Iterable, Iterator

from ..errors import DatasetError
from .picture import DecodedFrame
from .source import Clip, LeRobotSource
from .stills import check_stills, stream_stills
from .video import check_video, stream_video

__all__ = ["DecodedFrame", "check_frames", "decode_frames", "prove_episode", "stream_frames"]


def decode_frames(
    source: LeRobotSource, episode: int, camera: str, frame_indices: Iterable[int], *, threads: int = 1
) -> Iterator[DecodedFrame]:
    """Decode frames of one episode and camera, in the order asked for; rising order costs one pass.

    Args:
        source: the dataset.
        episode: an episode index.
        camera: a short camera name.
        frame_indices: frames of that episode.
        threads: threads of a video's decoder; 0 leaves the choice to it. The pixels do not depend on it, but with
            more than one the error of a damaged video may name a frame up to the decoder's look-ahead too early.

    Raises:
        DatasetError: a file that is damaged or shorter than its index (episode, camera and time are named).
    """
    return stream_frames(source, camera, ((episode, frame) for frame in frame_indices), threads=threads)


def stream_frames(
    source: LeRobotSource, camera: str, wanted: Iterable[tuple[int, int]], *, threads: int = 1
) -> Iterator[DecodedFrame]:
    """Decode (episode index, frame index) pairs of one camera; a file that holds consecutive episodes is opened once.

    Raises: see :func:`decode_frames`.
    """
    for footage, members in itertools.groupby(_checked(source, wanted), key=lambda pair: _file(source, camera, pair)):
        if footage[0] is Clip:
            yield from stream_video(source, camera, members, threads=threads)
        else:
            yield from stream_stills(source, camera, footage[1], members)


def check_frames(source: LeRobotSource, episode: int, camera: str) -> None:
    """Check, without decoding, that there is a frame for every row of an episode, and no other between them.

    Raises:
        DatasetError: a file that cannot be opened, is shorter than its index, or of another rate.
    """
    clip = source.clip(episode, camera)
    if isinstance(clip, Clip):
        check_video(source, episode, camera, clip)
    else:
        check_stills(source, episode, camera, clip)


def prove_episode(source: LeRobotSource, episode: int, cameras: Iterable[str], frames: Iterable[int]) -> None:
    """Decode frames of an episode, all cameras, and keep nothing.

    Raises:
        DatasetError: the first that cannot be had (episode, camera and time are named).
    """
    wanted = sorted(frames)
    for camera in cameras:
        check_frames(source, episode, camera)
        for _ in decode_frames(source, episode, camera, wanted):
            pass


def _file(source: LeRobotSource, camera: str, pair: tuple[int, int]) -> tuple[type, str]:
    clip = source.clip(pair[0], camera)
    return type(clip), str(clip.path)


def _checked(source: LeRobotSource, wanted: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for episode, frame in wanted:
        length = source.episode(episode).length
        if not 0 <= frame < length:
            raise DatasetError(f"episode {episode} has no frame {frame}", expected=f"0 to {length - 1}")
        yield episode, frame
