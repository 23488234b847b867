"""Frames out of videos, in a thread that runs ahead of the backbone."""

import itertools
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from .work import Batch, FrameId


class Frame(NamedTuple):
    """A decoded frame: its presentation time, pixels, and the sha256 of its pixels."""

    pts_s: float
    rgb: UInt8[np.ndarray, "h w 3"]
    pixels_sha256: str


class DecodedBatch(NamedTuple):
    """A batch with its frames, and the seconds their decoding took."""

    batch: Batch
    frames: Sequence[Frame]
    seconds: float


Decode = Callable[[Iterable[FrameId]], Iterator[Frame]]


def decode_ahead(batches: Sequence[Batch], decode: Decode, depth: int = 2) -> Generator[DecodedBatch]:
    """Decode batches in a thread, at most ``depth`` of them ahead of their use.

    An error of the thread is raised where its batch was due. Closing the iterator stops the thread.
    """
    ready: queue.Queue[DecodedBatch | Exception | None] = queue.Queue(depth)
    stopped = threading.Event()

    def run() -> None:
        try:
            for batch in _decoded(batches, decode):
                _put(ready, batch, stopped)
                if stopped.is_set():
                    return
            _put(ready, None, stopped)
        except Exception as error:  # raised again in the caller's thread
            _put(ready, error, stopped)

    thread = threading.Thread(target=run, name="decoder", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()


def _decoded(batches: Sequence[Batch], decode: Decode) -> Iterator[DecodedBatch]:
    frames = decode(itertools.chain.from_iterable(batch.frames for batch in batches))
    for batch in batches:
        start = time.perf_counter()
        yield DecodedBatch(batch, list(itertools.islice(frames, len(batch.frames))), time.perf_counter() - start)


def _put[T](ready: "queue.Queue[T]", item: T, stopped: threading.Event) -> None:
    while not stopped.is_set():
        try:
            ready.put(item, timeout=0.1)
        except queue.Full:
            continue
        return
