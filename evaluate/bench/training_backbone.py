"""The backbone beside the training: inside its loop, and once before it."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ...extract.backbones.base import Backbone
from ...extract.decode import Frame
from ...extract.frames import FrameId, frame_ids
from ...extract.preprocess import preprocess
from ...extract.stream import Pace, stream
from ...extract.work import schedule
from ...pipeline.interrupt import Stop
from ...pipeline.store import FeatureStore, plan_array
from ...train.loader import Batch, Loaded
from ...train.loop import take_step, train_order
from ...train.state import Run
from .training_data import HEIGHT, INSTRUCTIONS, WIDTH, frame_rows, query_rows


class InLoop:
    """A step on a batch whose features the backbone makes just then, in float32 as it gives them."""

    def __init__(self, run: Run, backbone: Backbone) -> None:
        self.run, self.backbone, self.step = run, backbone, 0
        size = run.config.batch_size
        self.pixels = preprocess([frame.rgb for frame in _pictures(size)], backbone.specs[0].image)  # (b, 3, h, w)
        self.instructions = [INSTRUCTIONS[number % len(INSTRUCTIONS)] for number in range(size)]
        self.draw = train_order(run)(0)

    def __call__(self) -> list[float]:
        """Seconds of one step."""
        start = time.perf_counter()
        targets = {name: values[self.draw.examples] for name, values in self.run.data.examples.targets.items()}
        take_step(self.run, Loaded(self.draw, self.features(self.pixels, self.instructions) | targets))
        self.run.recent.clear()
        return [time.perf_counter() - start]

    def features(self, pixels: Float[Tensor, "b 3 h w"], instructions: Sequence[str]) -> Batch:
        """z and r of a batch, as tensors that a graph may keep."""
        frames = self.backbone.encode_frames(pixels)
        queries = {} if frames.state is None else self.backbone.encode_queries(frames.state, instructions)
        return {name: values.clone() for name, values in {**frames.features, **queries}.items()}


def extraction(backbone: Backbone, folder: Path, frames: int, batch_size: int) -> Callable[[], list[float]]:
    """Seconds a frame with its one query, from the plan of an empty store to the last receipt; no video is decoded.

    Args:
        backbone: loaded.
        folder: where the store is made, and removed again.
        frames: how many.
        batch_size: frames a batch.
    """
    rows = frame_rows(frames)
    tables = {"frame": rows, "query": query_rows(rows, INSTRUCTIONS[:1])}
    made = dict(zip(frame_ids(rows), _pictures(frames), strict=True))

    def decode(wanted: Iterable[FrameId]) -> Iterator[Frame]:
        return (made[frame] for frame in wanted)

    def run() -> list[float]:
        with TemporaryDirectory(dir=folder) as own:
            store, start = FeatureStore.create(Path(own) / "store"), time.perf_counter()
            plans = [plan for spec in backbone.specs for plan in plan_array(store, spec, tables[spec.per])]
            work = schedule(plans, rows, tables["query"], batch_size)
            stream(work, [backbone], store=store, decode=decode, origin={}, pace=Pace(batch_size), stop=Stop())
            return [(time.perf_counter() - start) / frames]

    return run


def _pictures(count: int) -> list[Frame]:
    """Random pixels: no backbone here is faster on others."""
    rng = np.random.default_rng(0)
    return [Frame(0.0, rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), "0" * 64) for _ in range(count)]
