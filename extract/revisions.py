"""A dataset that moved to a new revision: frames whose pixels did not change keep their features.

It costs a decode, not a forward: the frames are decoded, hashed, and compared with the hashes beside the receipts.
"""

from collections.abc import Callable, Mapping

import pyarrow as pa

from ..pipeline.spec import FeatureSpec
from ..pipeline.store import FeatureStore
from .dataset import Dataset
from .work import FrameId, frame_ids, instructions

Identity = tuple[FrameId, str | None]


def moved_rows(store: FeatureStore, spec: FeatureSpec, rows: pa.Table) -> pa.Table:
    """The wanted rows that stand in the store under another revision only, their pixels not compared yet."""
    if spec.key not in store.features() or not _revisions(store.index(spec.key)) - _revisions(rows):
        return rows.slice(0, 0)
    revisions: dict[Identity, set[str]] = {}
    stored = store.frames(spec.key)
    for identity, revision in zip(_identities(stored), stored.column("revision").to_pylist(), strict=True):
        revisions.setdefault(identity, set()).add(revision)
    wanted = zip(_identities(rows), rows.column("revision").to_pylist(), strict=True)
    moved = [identity in revisions and revision not in revisions[identity] for identity, revision in wanted]
    return rows.filter(pa.array(moved, pa.bool_()))


def unchanged_rows(
    store: FeatureStore,
    dataset: Dataset,
    moved: Mapping[FeatureSpec, pa.Table],
    beat: Callable[[int], None] = lambda _: None,
) -> dict[FeatureSpec, pa.Table]:
    """Of :func:`moved_rows`, those whose frames have the same pixels as when their features were made.

    ``beat(0)`` is called for every frame.

    Raises:
        DatasetError: a frame cannot be decoded.
    """
    frames = sorted({frame for table in moved.values() for frame in frame_ids(table)})
    pixels = {}
    for frame, decoded in zip(frames, dataset.decode(frames), strict=True):
        pixels[frame] = decoded.pixels_sha256
        beat(0)
    return {spec: _same(store, spec, table, pixels) for spec, table in moved.items()}


def _same(store: FeatureStore, spec: FeatureSpec, rows: pa.Table, pixels: Mapping[FrameId, str]) -> pa.Table:
    if not rows.num_rows:
        return rows
    stored = store.frames(spec.key)
    known: dict[Identity, set[str]] = {}
    for identity, digest in zip(_identities(stored), stored.column("pixels_sha256").to_pylist(), strict=True):
        known.setdefault(identity, set()).add(digest)
    same = [known[identity] == {pixels[identity[0]]} for identity in _identities(rows)]
    return rows.filter(pa.array(same, pa.bool_()))


def _revisions(table: pa.Table) -> set[str]:
    return set(table.column("revision").unique().to_pylist())


def _identities(table: pa.Table) -> list[Identity]:
    return list(zip(frame_ids(table), instructions(table), strict=True))
