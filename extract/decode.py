"""Frames out of videos, in threads that run ahead of the backbone, several episodes at once.

Every episode is decoded by one thread from its first frame to its last; frames come out in the order asked for. What is
decoded and not yet used is bounded, over all threads together.
"""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from ..pipeline.errors import MachineError
from ..pipeline.spec import ImageSpec
from .frames import FrameId
from .patience import GRACE_S, POLL_S, Patience
from .work import Batch


class Frame(NamedTuple):
    """A decoded frame: its presentation time, pixels, and the sha256 of its pixels."""

    pts_s: float
    rgb: UInt8[np.ndarray, "h w 3"]
    pixels_sha256: str


type Inputs = Mapping[ImageSpec, Float[Tensor, "3 height width"]]
"""A frame as networks take it."""


class DecodedBatch(NamedTuple):
    """A batch with its frames, the seconds their decoding took, and network inputs that are made already."""

    batch: Batch
    frames: Sequence[Frame]
    seconds: float
    inputs: Sequence[Inputs] = ()


Decode = Callable[[Iterable[FrameId]], Iterator[Frame]]
Prepare = Callable[[Frame], Inputs]


class _Ready(NamedTuple):
    frame: Frame
    inputs: Inputs
    seconds: float


@dataclass
class _Reel:
    """The frames asked for of one episode: those decoded and not yet used, and whether that was all."""

    wanted: Sequence[FrameId]
    ready: deque[_Ready] = field(default_factory=deque)
    given: int = 0
    finished: bool = False
    error: BaseException | None = None


def decode_ahead(
    batches: Sequence[Batch],
    decode: Decode,
    *,
    prepare: Prepare | None = None,
    threads: int = 1,
    ahead: int = 32,
    patience: Patience | None = None,
) -> Generator[DecodedBatch]:
    """Decode batches in threads; ends early when a signal asks to stop. Closing the iterator stops the threads.

    Args:
        batches: in the order of the frame table.
        decode: frames of one episode to decoded frames, in the same order.
        prepare: makes network inputs of a frame, in the thread that decoded it.
        threads: episodes at once.
        ahead: frames decoded before they are used, over all threads.
        patience: how long to wait for a frame, and whether to stop.

    Raises:
        MachineError: no thread makes progress.
        Exception: whatever ``decode`` raised, where its frame was due.
    """
    patience = patience or Patience()
    decoders = _Decoders(batches, decode, prepare, ahead)
    decoders.start(threads)
    try:
        for batch in batches:
            ready = decoders.take(len(batch.frames), patience)
            if len(ready) < len(batch.frames):
                return  # told to stop
            seconds = sum(one.seconds for one in ready)
            yield DecodedBatch(batch, [one.frame for one in ready], seconds, [one.inputs for one in ready])
    finally:
        decoders.stop()


class _Decoders:
    """What the threads share: the episodes still to begin, those begun in order, and the frames held."""

    def __init__(self, batches: Sequence[Batch], decode: Decode, prepare: Prepare | None, ahead: int) -> None:
        frames = itertools.chain.from_iterable(batch.frames for batch in batches)
        self._episodes = itertools.groupby(frames, key=lambda frame: (frame.repo_id, frame.episode))
        self._decode, self._prepare, self._ahead = decode, prepare, ahead
        self._moved = threading.Condition()
        self._reels: deque[_Reel] = deque()
        self._held = self._count = 0
        self._none_left = self._stopped = False
        self._threads: list[threading.Thread] = []

    def start(self, threads: int) -> None:
        """Begin to decode."""
        self._threads = [threading.Thread(target=self.run, name=f"decoder-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def run(self) -> None:
        """Decode one episode after another; what a thread runs."""
        while (reel := self._begin()) is not None:
            error: BaseException | None = None
            try:
                self._play(reel)
            except BaseException as caught:  # raised again where the frame is due
                error = caught
            with self._moved:
                reel.finished, reel.error = True, error
                self._moved.notify_all()

    def take(self, count: int, patience: Patience) -> list[_Ready]:
        """The next frames in order; fewer if a signal asked to stop."""
        taken: list[_Ready] = []
        patience.restart()
        with self._moved:
            while len(taken) < count and not patience.stop:
                self._drop_finished()
                reel = self._reels[0] if self._reels else None
                if reel is not None and reel.ready:
                    taken.append(reel.ready.popleft())
                    self._held -= 1
                    self._moved.notify_all()
                elif reel is None and (self._none_left or not any(thread.is_alive() for thread in self._threads)):
                    raise MachineError("the decoder ended before its last frame", remedy="the same command resumes")
                elif not self._moved.wait(POLL_S):
                    patience.check(self._count, "decoding", "the first frame" if reel is None else _place(reel))
        return taken

    def stop(self) -> None:
        """Tell the threads to end and wait for them; one that hangs is left behind."""
        with self._moved:
            self._stopped = True
            self._moved.notify_all()
        until = time.monotonic() + GRACE_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _begin(self) -> _Reel | None:
        with self._moved:
            if self._stopped or (episode := next(self._episodes, None)) is None:
                self._none_left = True
                self._moved.notify_all()
                return None
            reel = _Reel(list(episode[1]))
            self._reels.append(reel)
            return reel

    def _play(self, reel: _Reel) -> None:
        frames = iter(self._decode(reel.wanted))
        for _ in reel.wanted:
            start = time.perf_counter()
            frame = next(frames)
            inputs = {} if self._prepare is None else self._prepare(frame)
            if not self._give(reel, _Ready(frame, inputs, time.perf_counter() - start)):
                return

    def _give(self, reel: _Reel, ready: _Ready) -> bool:
        """Put a frame where it is taken; waits while too many are held. False when told to stop."""
        with self._moved:
            while not self._stopped and self._held >= self._ahead and (reel.ready or self._reels[0] is not reel):
                self._moved.wait()
            reel.ready.append(ready)
            reel.given += 1
            self._held += 1
            self._count += 1
            self._moved.notify_all()
            return not self._stopped

    def _drop_finished(self) -> None:
        while self._reels and self._reels[0].finished and not self._reels[0].ready:
            reel = self._reels.popleft()
            self._moved.notify_all()
            if isinstance(reel.error, Exception) and not isinstance(reel.error, StopIteration):
                raise reel.error
            if reel.error is not None or (reel.given < len(reel.wanted) and not self._stopped):
                raise MachineError(
                    "a decoder thread ended early",
                    found=f"{type(reel.error).__name__ if reel.error else 'nothing'} at {_place(reel)}",
                    remedy="the same command resumes",
                ) from reel.error


def _place(reel: _Reel) -> str:
    frame = reel.wanted[min(reel.given, len(reel.wanted) - 1)]
    return f"{frame.repo_id}, episode {frame.episode}, camera {frame.camera}, frame {frame.frame}"
