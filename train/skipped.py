"""A store whose extraction left out damaged episodes: nobody trains on it without saying so."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import pyarrow as pa

from ..pipeline.datasets.labels import read_labels, select_labels
from ..pipeline.errors import StoreIncomplete
from ..pipeline.manifest import DatasetManifest, ListedSplits, assign_splits, episode_ranges
from ..pipeline.store import FeatureStore
from ..pipeline.store.completeness import refuse_partial
from ..pipeline.store.skipped import Skipped, still_skipped


def admit(
    store: FeatureStore,
    indexes: Mapping[str, pa.Table],
    manifest: DatasetManifest,
    *,
    allow_partial: bool,
    allow_skipped: bool,
) -> DatasetManifest:
    """The manifest of what may be trained on: as it is, or without the episodes that the extraction left out.

    Its splits are those of all episodes, so that leaving one out moves no other.

    Args:
        store: the store.
        indexes: the readable rows of every feature that is needed, by key.
        manifest: the data manifest.
        allow_partial: rows may be missing.
        allow_skipped: episodes may be missing that the extraction left out.

    Raises:
        StoreIncomplete: something is missing that may not be.
    """
    skipped: dict[int, Skipped] = {}
    for key, rows in indexes.items():
        found = still_skipped(store.layout, rows)
        if not allow_partial:
            refuse_partial(store, key, skipped=found)
        skipped |= {one.episode_index: one for one in found.values() if one.repo_id == manifest.repo_id}
    every = _episodes(manifest, indexes.values(), skipped)
    left_out = {index: one for index, one in skipped.items() if index in every}
    if left_out and not allow_skipped:
        raise _refusal(store, left_out)
    return _without(manifest, left_out, every) if left_out else manifest


def _episodes(manifest: DatasetManifest, indexes: Iterable[pa.Table], skipped: Collection[int]) -> set[int]:
    """The episodes that splits are drawn over: the labelled ones, else all the store knows of; of the manifest's."""
    if manifest.labels is not None:
        labels = select_labels(read_labels(manifest.labels), manifest)
        return set(labels["episode_index"].unique().to_pylist())
    known = set(skipped)
    for rows in indexes:
        pairs = zip(rows["repo_id"].to_pylist(), rows["episode_index"].to_pylist(), strict=True)
        known |= {episode for repo_id, episode in pairs if repo_id == manifest.repo_id}
    return known if manifest.episodes is None else known & set(manifest.episodes)


def _without(manifest: DatasetManifest, left_out: Collection[int], every: Collection[int]) -> DatasetManifest:
    assigned = assign_splits(manifest, sorted(every))
    kept = {name: tuple(index for index in indices if index not in left_out) for name, indices in assigned.items()}
    return replace(manifest, splits=ListedSplits(**kept), episodes=tuple(sorted(set(every) - set(left_out))))


def _refusal(store: FeatureStore, left_out: Mapping[int, Skipped]) -> StoreIncomplete:
    return StoreIncomplete(
        f"{store.place} lacks episodes {episode_ranges(left_out)}: the extraction left them out",
        found=[left_out[index].render() for index in sorted(left_out)][:8],
        expected="every episode of the manifest",
        remedy="mend the dataset and run `vtt extract` again, or train on the rest with --allow-skipped",
    )
