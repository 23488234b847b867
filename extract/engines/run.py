"""extract_with(config, engine): the same store as extract(config), by several workers."""

import importlib
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from tqdm import tqdm

from ...pipeline.interrupt import stop_on_signals
from ...pipeline.store import ArrayPlan
from ..batch_size import begun_with
from ..config import ExtractConfig, StoreManifest
from ..plan import ExtractionPlan, compare_revisions, of_share, open_if_there, plan
from ..run import extract
from ..share import Share, split_share, take_share
from ..skipping import leave_out_damaged
from ..space import require_space
from ..work import frame_ids, schedule
from .config import ENGINES, EngineConfig
from .job import Job, Outcome
from .supervise import Start, supervise

EVERYWHERE = 16
"""Frames a batch of several workers that are asked for ``auto`` in a new store."""

Engine = Callable[[EngineConfig, ExtractConfig], AbstractContextManager[Start]]


def extract_with(config: ExtractConfig, engine: EngineConfig) -> StoreManifest:
    """Run a frozen backbone over a dataset with several workers; the store is the one that :func:`extract` makes.

    ``local`` with one worker is :func:`extract` in this process.

    Returns:
        What :func:`extract` returns; the seconds of a stage are summed over workers.

    Raises:
        MissingDependency: the engine's package is not installed.
        MachineError: a part cost too many workers.
        Interrupted: SIGTERM or SIGINT; workers ended, and the same call resumes.
        VisualThoughtError: as :func:`extract`.
    """
    if engine.engine == "local" and engine.workers == 1:
        return extract(config)
    start_s = time.perf_counter()
    run = load_engine(engine.engine)
    with stop_on_signals() as stop:
        whole = compare_revisions(leave_out_damaged(plan(replace(config, part=None))))
        config = replace(config, batch_size=_batch_size(whole))
        planned = of_share(replace(whole, config=config))
        require_space(planned)
        work = _shared_out(whole, split_share(config.part, engine.workers))
        if not work:
            return extract(config)
        left_out = tuple(skipped.episode_index for skipped in whole.dataset.skipped)
        settled = replace(config, progress=False, without_episodes=left_out)
        jobs = [Job(replace(settled, part=share), slot) for slot, share in enumerate(work)]
        with (
            run(engine, config) as start,
            tqdm(total=_frames(planned), unit="frame", disable=not config.progress) as bar,
        ):

            def show(frames: int) -> None:
                bar.update(min(frames, (bar.total or 0) - bar.n))

            outcomes = supervise(
                jobs,
                start,
                engine=engine,
                unfinished=lambda job: first_unfinished(config, work[job.share]),
                stop=stop,
                show=show,
            )
    return _told(planned, extract(replace(config, progress=False)), outcomes, time.perf_counter() - start_s)


def load_engine(name: str) -> Engine:
    """Import an engine; not yet the package it needs."""
    module, _, attribute = ENGINES[name].partition(":")
    engine: Engine = getattr(importlib.import_module(module), attribute)
    return engine


def first_unfinished(config: ExtractConfig, arrays: Sequence[ArrayPlan]) -> str | None:
    """The first of these parts without a receipt, and the frames it is made of, in words; None if all have one."""
    layout = open_if_there(config.store).layout
    for array in arrays:
        for part in array.missing:
            if not layout.exists(layout.receipt_file(array.index_id, array.spec.key, part)):
                return f"part {part:06d} of {array.spec.key} ({_frames_of(array, part)})"
    return None


def _shared_out(whole: ExtractionPlan, shares: Sequence[Share]) -> dict[Share, list[ArrayPlan]]:
    """The shares that have something missing."""
    arrays = [array for feature in whole.features for array in feature.arrays]
    taken = {share: take_share(arrays, share) for share in shares}
    return {share: kept for share, kept in taken.items() if any(array.missing for array in kept)}


def _batch_size(planned: ExtractionPlan) -> int:
    """Frames a batch, the same for all workers: each would find another one the fastest."""
    size = planned.config.batch_size
    return (begun_with(planned) or EVERYWHERE) if size == "auto" else size


def _frames(planned: ExtractionPlan) -> int:
    """Frames to run."""
    arrays = [array for feature in planned.features for array in feature.arrays]
    return schedule(arrays, planned.frames, planned.queries, _batch_size(planned)).frames


def _frames_of(array: ArrayPlan, part: int) -> str:
    frames = frame_ids(array.part_table(part))
    ends = (frames[0], frames[-1])
    return " to ".join(f"episode {frame.episode}, {frame.camera}, frame {frame.frame}" for frame in ends)


def _told(planned: ExtractionPlan, done: StoreManifest, outcomes: Sequence[Outcome], total_s: float) -> StoreManifest:
    """The manifest of the finished store, with what the workers did."""
    written = {feature.spec.key: feature.missing for feature in planned.features}
    features = tuple(
        replace(
            feature,
            parts_written=written[feature.key],
            parts_reused=feature.parts_reused + feature.parts_written - written[feature.key],
        )
        for feature in done.features
    )
    seconds = {"total": total_s}
    for outcome in outcomes:
        for stage, spent in outcome.seconds.items():
            if stage != "total":
                seconds[stage] = seconds.get(stage, 0.0) + spent
    return replace(done, features=features, frames=sum(outcome.frames for outcome in outcomes), seconds=seconds)
