"""Which episodes a manifest trains on, drawn exactly as training draws them."""

from collections.abc import Iterable

from ..manifest import SPLITS, DatasetManifest, ListedSplits, assign_splits
from .labels import read_labels, select_labels


def training_episodes(manifest: DatasetManifest, stored: Iterable[int]) -> frozenset[int]:
    """The episodes of the training split.

    With labels the splits are drawn over the labelled episodes, stored or not, as training does; without, over the
    stored ones and those that the manifest names.

    Args:
        manifest: its splits, and its labels if it has any.
        stored: the episodes of the manifest's dataset that a store has.

    Raises:
        ManifestError: splits or labels that contradict themselves.
    """
    if manifest.labels is not None:
        labels = select_labels(read_labels(manifest.labels), manifest)
        return frozenset(assign_splits(manifest, sorted(set(labels["episode_index"].to_pylist())))["train"])
    episodes = set(stored) | set(manifest.episodes or ())
    if isinstance(manifest.splits, ListedSplits):
        episodes |= {episode for name in SPLITS for episode in getattr(manifest.splits, name)}
    return frozenset(assign_splits(manifest, sorted(episodes))["train"])
