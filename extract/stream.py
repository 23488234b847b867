"""What is missing, from frames to committed parts.

decode (threads) -> preprocess and forward -> check -> gather rows into parts -> commit (a thread)
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

import torch
from pydantic import JsonValue
from tqdm import tqdm

from ..pipeline.interrupt import Stop
from ..pipeline.store import FeatureStore, commit_part
from .backbones.base import Backbone
from .config import ExtractConfig
from .decode import Decode, DecodedBatch, decode_ahead
from .forward import Forward, Pending
from .parts import Part, Parts, PartWriter
from .patience import Patience
from .work import Work

type Seconds = dict[str, float]
type Beat = Callable[[int], None]


def quiet(frames: int) -> None:
    """Tell nobody."""


class Pace(NamedTuple):
    """How work is cut and watched; nothing here changes a number but ``batch_size``, in the last bits.

    Args:
        batch_size: frames a batch.
        decode_threads: episodes decoded at once.
        stall_timeout_s: how long decoding or writing may stand still.
        progress: show a progress bar on stderr.
        beat: called at every sign of progress, from any thread, with the frames run since the last one.
        record_nan: store rows that are NaN or infinite instead of stopping.
    """

    batch_size: int
    decode_threads: int = 1
    stall_timeout_s: float = 300.0
    progress: bool = False
    beat: Beat = quiet
    record_nan: bool = False


def pace_of(config: ExtractConfig, device: torch.device, batch_size: int, beat: Beat = quiet) -> Pace:
    """The pace that a config asks for; beside a backbone that computes on the CPU one episode is decoded at once."""
    threads = config.decode_threads
    if threads is None:
        threads = min(8, max(1, (os.cpu_count() or 1) // 2)) if device.type == "cuda" else 1
    return Pace(batch_size, threads, config.stall_timeout_s, config.progress, beat, config.nan == "record")


class Streamed(NamedTuple):
    """What a stream did: parts committed, and busy seconds by stage (they overlap)."""

    parts: int
    seconds: Seconds


def stream(
    work: Work,
    backbones: Sequence[Backbone],
    *,
    store: FeatureStore,
    decode: Decode,
    origin: Mapping[str, JsonValue],
    pace: Pace,
    stop: Stop,
) -> Streamed:
    """Compute and commit everything that is missing; after a signal, what is complete.

    Args:
        work: what is missing.
        backbones: loaded, all on one device; those that make what is missing.
        store: where.
        decode: see :func:`.decode.decode_ahead`.
        origin: what every receipt says of where it was made.
        pace: how.
        stop: whether a signal asked to stop.

    Raises:
        DatasetError: a frame that cannot be decoded.
        VisualThoughtError: a feature that is not finite.
        MachineError: a full disk or memory, or a stage that makes no progress.
    """
    patience = [Patience(pace.stall_timeout_s, stop) for _ in range(2)]
    forward, parts, seconds = (
        Forward(backbones, pace.batch_size, record_nan=pace.record_nan),
        Parts(work.arrays),
        dict[str, float](),
    )
    decoded = decode_ahead(
        work.batches,
        decode,
        prepare=forward.inputs if backbones[0].device.type == "cpu" else None,
        threads=pace.decode_threads,
        ahead=2 * pace.batch_size * pace.decode_threads,
        patience=patience[0],
    )
    bar = tqdm(total=work.frames, unit="frame", disable=not pace.progress, file=sys.stderr)
    with (
        PartWriter(_committer(store, origin, pace.beat), patience=patience[1]) as writer,
        bar,
        closing(decoded) as batches,
    ):
        seconds |= {"decode": 0.0, "forward": 0.0, "write": 0.0}
        for batch in _finished(batches, forward, stop):
            for part in _gathered(batch, forward, parts):
                writer.put(part)
            for stage, spent in batch.seconds.items():
                seconds[stage] += spent
            seconds["write"] = writer.seconds
            bar.set_postfix(_shares(seconds, bar.format_dict["elapsed"]), refresh=False)
            bar.update(len(batch.batch.frames))
            pace.beat(len(batch.batch.frames))
    return Streamed(writer.written, seconds | {"write": writer.seconds})


def _committer(store: FeatureStore, origin: Mapping[str, JsonValue], beat: Beat) -> Callable[[Part], None]:
    def commit(part: Part) -> None:
        spent: dict[str, JsonValue] = {**part.seconds}
        info = {**origin, "seconds": spent}
        commit_part(store, part.plan, part.number, part.values, frames=part.frame_table(), info=info)
        beat(0)

    return commit


def _finished(batches: Iterator[DecodedBatch], forward: Forward, stop: Stop) -> Iterator[Pending]:
    """Batches whose numbers arrived; each is taken after the next one was started."""
    before: Pending | None = None
    for batch in batches:
        if stop:
            return
        started = forward.launch(batch)
        if before is not None:
            yield forward.wait(before)
        before = started
    if before is not None and not stop:
        yield forward.wait(before)


def _gathered(batch: Pending, forward: Forward, parts: Parts) -> Iterator[Part]:
    """The parts that a batch completes."""
    seconds = batch.seconds_a_row
    for key, frame, values in forward.rows(batch):
        for place in batch.batch.places.get(key, ()):
            part = parts.put(place, values, frame, seconds)
            if part is not None:
                yield part


def _shares(seconds: Mapping[str, float], elapsed: float) -> dict[str, str]:
    return {stage: f"{spent / max(elapsed, 1e-9):.0%}" for stage, spent in seconds.items()}
