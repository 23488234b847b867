"""The whole extraction beside the bare forward pass over preloaded batches, and beside each of its stages alone."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ...extract.backbones.base import Backbone
from ...extract.dataset import Dataset
from ...extract.decode import DecodedBatch
from ...extract.forward import Forward
from ...extract.frames import frame_ids
from ...extract.stream import Pace, stream
from ...extract.work import Work, schedule
from ...pipeline.interrupt import Stop
from ...pipeline.spec import Per
from ...pipeline.store import ArrayPlan, FeatureStore, commit_part, plan_array
from ...pipeline.store.format import stored_dtype
from .naive import naive_loop
from .rounds import AGAIN, Seconds, Spread, control, interleave, speed
from .table import Bar, Case, Line

FORWARD, WHOLE, DECODE, WRITE, NAIVE = (
    "forward of preloaded batches",
    "whole extraction",
    "decode alone",
    "write alone",
    "naive loop",
)
TO_FORWARD, TO_NAIVE = "to forward", "to naive"
NAIVE_BAR = 1.5


@dataclass(frozen=True)
class Subject:
    """What is measured: a loaded backbone over the first frames of a dataset.

    Args:
        title: for the table.
        backbone: loaded.
        dataset: with one instruction a frame.
        frames: how many of its frames.
        batch_size: frames a batch, for everybody.
        decode_threads: of the extraction.
        folder: for stores; everything in it is removed again.
        bar: least share of the bare forward rate that the whole extraction must reach; None asks for nothing.
        naive: whether to measure the naive loop.
    """

    title: str
    backbone: Backbone
    dataset: Dataset
    frames: int
    batch_size: int
    decode_threads: int
    folder: Path
    bar: float | None
    naive: bool
    _rows: dict[Per, pa.Table] = field(default_factory=dict)

    def rows(self, per: Per) -> pa.Table:
        """The first rows of the frame or the query table."""
        return self.dataset.rows(per).slice(0, self.frames)

    def plan(self, store: FeatureStore) -> list[ArrayPlan]:
        """The arrays of a new store."""
        return [array for spec in self.backbone.specs for array in plan_array(store, spec, self.rows(spec.per))]

    def schedule(self, arrays: Sequence[ArrayPlan]) -> Work:
        """The extraction's own batches."""
        return schedule(arrays, self.rows("frame"), self.rows("query"), self.batch_size)


def bench_extraction(subject: Subject, *, rounds: int, quiet: bool = False) -> Case:
    """Everything once to warm up, then in interleaved rounds; seconds a frame, loading of weights apart."""
    timed = {
        FORWARD: _forward(subject),
        WHOLE: _whole(subject),
        DECODE: lambda: sum(1 for _ in subject.dataset.decode(frame_ids(subject.rows("frame")))),
        WRITE: _write(subject),
    }
    timed[FORWARD + AGAIN] = timed[FORWARD]
    if subject.naive:
        timed[NAIVE] = _naive(subject)
    for run in timed.values():
        run()
    runs = {name: _seconds_a_frame(run, subject.frames) for name, run in timed.items()}
    seconds = interleave(runs, rounds=rounds, label=subject.title, quiet=quiet)
    lines = tuple(_line(subject, seconds, name) for name in timed if not name.endswith(AGAIN))
    return Case(subject.title, lines, (_what_bounds(seconds),))


def _seconds_a_frame(run: Callable[[], object], frames: int) -> Callable[[], list[float]]:
    def measured() -> list[float]:
        start = time.perf_counter()
        run()
        return [(time.perf_counter() - start) / frames]

    return measured


def _line(subject: Subject, seconds: Seconds, name: str) -> Line:
    ratios = {TO_FORWARD: speed(seconds, name, FORWARD)}
    bars: list[Bar] = []
    if NAIVE in seconds:
        ratios[TO_NAIVE] = speed(seconds, name, NAIVE)
    if name == WHOLE and subject.bar is not None:
        bars.append(Bar(f">= {subject.bar:.2f} of forward", ratios[TO_FORWARD].median >= subject.bar))
    if name == WHOLE and subject.naive:
        bars.append(Bar(f">= {NAIVE_BAR} of the naive loop", ratios[TO_NAIVE].median >= NAIVE_BAR))
    pace = f"{1 / Spread.of(seconds[name]).median:8.2f} frames/s"
    return Line(name, pace, ratios, control(seconds, FORWARD), tuple(bars))


def _what_bounds(seconds: Seconds) -> str:
    slowest = max((FORWARD, DECODE, WRITE), key=lambda name: Spread.of(seconds[name]).median)
    return f"bound by: {slowest.removesuffix(' alone').removesuffix(' of preloaded batches')}"


def _forward(subject: Subject) -> Callable[[], None]:
    """Network inputs are on the device already, results stay there."""
    backbone, forward = subject.backbone, Forward([subject.backbone], subject.batch_size)
    with _folder(subject) as folder:
        work = subject.schedule(subject.plan(FeatureStore.create(folder)))
    batches = [(_pixels(subject, forward, batch), batch) for batch in _decoded(subject, work)]

    @torch.inference_mode()
    def run() -> None:
        for pixels, batch in batches:
            state = backbone.encode_frames(pixels).state
            if state is not None:
                queries = batch.batch.queries
                at = torch.tensor([query.position for query in queries], device=state.device)
                backbone.encode_queries(state[at], [query.instruction for query in queries])
        if backbone.device.type == "cuda":
            torch.cuda.synchronize(backbone.device)

    return run


def _decoded(subject: Subject, work: Work) -> Iterator[DecodedBatch]:
    for batch in work.batches:
        yield DecodedBatch(batch, list(subject.dataset.decode(batch.frames)), 0.0)


def _pixels(subject: Subject, forward: Forward, batch: DecodedBatch) -> Float[Tensor, "b 3 h w"]:
    (image,) = forward.images
    inputs = [forward.inputs(frame)[image] for frame in batch.frames]
    return torch.stack(inputs).to(subject.backbone.device)


def _whole(subject: Subject) -> Callable[[], None]:
    """From the plan of an empty store to the last receipt."""

    def run() -> None:
        with _folder(subject) as folder:
            store = FeatureStore.create(folder)
            stream(
                subject.schedule(subject.plan(store)),
                [subject.backbone],
                store=store,
                decode=subject.dataset.decode,
                origin={},
                pace=Pace(subject.batch_size, subject.decode_threads),
                stop=Stop(),
            )

    return run


def _write(subject: Subject) -> Callable[[], None]:
    """The same parts, of numbers that are there already."""
    rows: dict[str, Shaped[np.ndarray, " rows *shape"]] = {}
    for spec in subject.backbone.specs:
        rng, shape = np.random.default_rng(0), (min(128, subject.frames), *spec.shape)
        bits = rng.integers(0, 0x7F80, shape, np.uint16)
        rows[spec.key] = bits if spec.tier == "bf16" else bits.astype(stored_dtype(spec))

    def run() -> None:
        with _folder(subject) as folder:
            store = FeatureStore.create(folder)
            for array in subject.plan(store):
                for part in array.missing:
                    commit_part(store, array, part, rows[array.spec.key][: len(array.part_range(part))])

    return run


def _naive(subject: Subject) -> Callable[[], None]:
    loop = naive_loop(subject.dataset.source, subject.backbone, frames=subject.frames, batch_size=subject.batch_size)

    def run() -> None:
        with _folder(subject) as folder:
            folder.mkdir()
            loop(folder)

    return run


@contextmanager
def _folder(subject: Subject) -> Iterator[Path]:
    """A name for a folder that is gone afterwards."""
    path = subject.folder / f"run-{uuid4().hex[:8]}"
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
