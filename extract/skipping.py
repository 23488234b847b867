"""``on_error="skip-episode"``: leave out the episodes whose frames cannot be had, and write down which.

Every episode with something left to make is decoded once before anything is planned for good, so that no part ever
waits for a frame that will not come. It costs a decode, not a forward.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from ..pipeline.datasets.frames import prove_episode
from ..pipeline.datasets.source import LeRobotSource
from ..pipeline.errors import FrameError
from ..pipeline.store import FeatureStore
from ..pipeline.store.skipped import MAX_REASON, Skipped, record_skipped
from .dataset import Dataset
from .plan import ExtractionPlan, plan
from .stream import Beat, quiet


def leave_out_damaged(planned: ExtractionPlan, beat: Beat = quiet) -> ExtractionPlan:
    """The plan without the episodes that have a damaged frame; the store says which were left out, and why.

    With ``on_error="stop"`` the plan as it is: the extraction will stop at the first. Of an extraction in parts every
    part is looked at, because all must leave out the same; ``beat(0)`` is called for every episode.

    Raises:
        DatasetError: no episode is left.
        MachineError: the store cannot be written.
    """
    config, dataset = planned.config, planned.dataset
    if config.on_error == "stop" or config.without_episodes is not None:
        return planned
    whole = planned if config.part is None else plan(replace(config, part=None), dataset)
    skipped = tuple(find_damaged(dataset, _unmade(whole), progress=config.progress, beat=beat))
    if not skipped:
        return planned
    rest = dataset.without(skipped)
    record_skipped(FeatureStore.create(config.store).layout, skipped)
    return plan(config, rest)


def find_damaged(
    dataset: Dataset, episodes: Iterable[int], *, progress: bool = False, beat: Beat = quiet
) -> Iterator[Skipped]:
    """The episodes that have a frame which is missing or damaged; every frame of the manifest is decoded once."""
    source, stride = dataset.source, dataset.manifest.stride
    for episode in tqdm(sorted(episodes), unit="episode", desc="proving every frame", disable=not progress):
        beat(0)
        try:
            frames = np.arange(0, source.episode(episode).length, stride)
            prove_episode(source, episode, sorted(source.cameras), frames.tolist())
        except FrameError as error:
            yield _skipped(source, episode, error)


def _unmade(planned: ExtractionPlan) -> set[int]:
    """The manifest's episodes that have a row to make, or one that stands in the store under another revision."""
    tables = [feature.moved for feature in planned.features]
    for feature in planned.features:
        tables += [array.part_table(part) for array in feature.arrays for part in array.missing]
    source = planned.dataset.source
    found = pa.concat_tables([_episodes_of(table, source.repo_id) for table in tables])
    return set(found["episode_index"].to_pylist()) & {episode.index for episode in source.episodes}


def _episodes_of(table: pa.Table, repo_id: str) -> pa.Table:
    return table.filter(pc.equal(table["repo_id"], repo_id)).select(["episode_index"])


def _skipped(source: LeRobotSource, episode: int, error: FrameError) -> Skipped:
    reason = f"{error.problem}\n{error.found}".replace(f"{source.root}/", "")[:MAX_REASON]
    return Skipped(repo_id=source.repo_id, revision=source.revision, episode_index=episode, reason=reason)
