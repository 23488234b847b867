"""How long an extraction would take: the very same stream, over the first frames, into a folder that is removed."""

import tempfile
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..pipeline.errors import Interrupted
from ..pipeline.interrupt import stop_on_signals
from ..pipeline.place import folder_of
from ..pipeline.store import ArrayPlan, FeatureStore, plan_array
from .batch_size import find_batch_size
from .described import load_backbones
from .devices import find_device
from .frames import FrameId, frame_ids
from .plan import ExtractionPlan
from .stream import pace_of, stream
from .work import Work, schedule

SAMPLE_BATCHES = 4


@dataclass(frozen=True)
class Estimate:
    """What a measured sample says of the whole.

    Args:
        frames: frames left to run.
        sample_frames: frames measured.
        batch_size: frames a batch.
        load_s: seconds that the weights took to load.
        sample_s: seconds the sample took, everything warm.
        busy_s: busy seconds of the sample by stage; stages overlap.
    """

    frames: int
    sample_frames: int
    batch_size: int
    load_s: float
    sample_s: float
    busy_s: dict[str, float]

    @property
    def frames_a_second(self) -> float:
        """The rate of the sample."""
        return self.sample_frames / self.sample_s

    @property
    def seconds(self) -> float:
        """Of the whole extraction, loading included."""
        return self.load_s + self.frames / self.frames_a_second

    @property
    def bound(self) -> str:
        """The stage that was busy longest."""
        return max(self.busy_s, key=lambda stage: self.busy_s[stage])

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return asdict(self) | {
            "frames_per_s": self.frames_a_second,
            "estimated_s": self.seconds,
            "bound_by": self.bound,
        }

    def render(self) -> str:
        """A line for people."""
        hours, rest = divmod(round(self.seconds), 3600)
        lasts = f"{hours} h {rest // 60:02d} min" if hours else f"{rest // 60} min {rest % 60:02d} s"
        return (
            f"  about {lasts}: {self.frames} frames at {self.frames_a_second:.1f} a second in batches of "
            f"{self.batch_size}, bound by {self.bound} (measured on {self.sample_frames}), "
            f"and {self.load_s:.0f} s to load"
        )


def measure(planned: ExtractionPlan) -> Estimate | None:
    """Load what is needed, run a few batches, write them beside the store and remove them; None if nothing is left.

    Raises:
        WeightsError, DatasetError, MachineError, VisualThoughtError: as ``extract``; the store is not touched.
        Interrupted: SIGTERM or SIGINT.
    """
    if planned.complete:
        return None
    device, start = find_device(planned.config.device), time.perf_counter()
    backbones = load_backbones(planned.backbones, planned.missing, device=device, config=planned.config)
    load_s = time.perf_counter() - start
    pace = pace_of(planned.config, device, find_batch_size(planned, backbones))._replace(progress=False)
    arrays = [array for feature in planned.features for array in feature.arrays]
    whole = schedule(arrays, planned.frames, planned.queries, pace.batch_size)
    with stop_on_signals() as stop, tempfile.TemporaryDirectory(prefix=".vtt-measure-", dir=_beside(planned)) as folder:
        for name, batches in (("warm", 1), ("sample", SAMPLE_BATCHES)):
            wanted = set(frame_ids(planned.frames.slice(0, batches * pace.batch_size)))
            store = FeatureStore.create(Path(folder) / name)
            work = _sample(planned, store, wanted, pace.batch_size)
            start = time.perf_counter()
            decode = planned.dataset.decode
            done = stream(work, backbones, store=store, decode=decode, origin={}, pace=pace, stop=stop)
            sample_s = time.perf_counter() - start
    if stop:
        raise Interrupted(f"stopped by {stop.signal} while measuring")
    return Estimate(whole.frames, work.frames, pace.batch_size, load_s, sample_s, done.seconds)


def _sample(planned: ExtractionPlan, store: FeatureStore, wanted: Collection[FrameId], batch_size: int) -> Work:
    """The work of some frames alone, into a store of their own."""
    arrays: list[ArrayPlan] = []
    for feature in planned.features:
        rows = _rows_of(planned.dataset.rows(feature.spec.per), wanted)
        if feature.missing and rows.num_rows:
            arrays += plan_array(store, feature.spec, rows, store_format=planned.config.store_format)
    queries = None if planned.queries is None else _rows_of(planned.queries, wanted)
    return schedule(arrays, _rows_of(planned.frames, wanted), queries, batch_size)


def _rows_of(rows: pa.Table, wanted: Collection[FrameId]) -> pa.Table:
    episodes = pa.array(sorted({frame.episode for frame in wanted}), pa.int64())
    near = rows.filter(pc.is_in(rows.column("episode_index"), episodes))
    return near.filter(pa.array([frame in wanted for frame in frame_ids(near)], pa.bool_()))


def _beside(planned: ExtractionPlan) -> Path:
    """The nearest folder that is there, on the disk the store will be on."""
    place = folder_of(planned.config.store).absolute().parent
    while not place.exists():
        place = place.parent
    return place
