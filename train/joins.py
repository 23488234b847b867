"""Which store row belongs to which label: joins on what a frame or query is called, never on row numbers."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int

from ..pipeline.errors import StoreIncomplete, StoreMismatch
from ..pipeline.manifest import episode_ranges

FRAME = ("episode_index", "frame_index", "camera")
QUERY = (*FRAME, "instruction")
ABSENT = -1


def match_rows(wanted: pa.Table, index: pa.Table, on: tuple[str, ...], repo_id: str) -> Int[np.ndarray, " n"]:
    """The store row of every wanted row, -1 where there is none.

    Args:
        wanted: n rows with the columns ``on``.
        index: a feature's readable rows with their numbers in the column ``row``.
        on: what must agree besides the dataset.
        repo_id: the dataset.

    Raises:
        StoreMismatch: one wanted row has two store rows: the dataset changed between two extractions.
    """
    known = index.filter(pc.equal(index["repo_id"], repo_id)).select([*on, "row"])
    numbered = wanted.select(list(on)).append_column("example", pa.array(np.arange(len(wanted))))
    joined = numbered.join(known, keys=list(on), join_type="left outer", use_threads=False)
    if len(joined) != len(wanted):
        raise _twice(index.filter(pc.equal(index["repo_id"], repo_id)), on, repo_id)
    rows = np.full(len(wanted), ABSENT, dtype=np.int64)
    rows[joined["example"].to_numpy()] = joined["row"].fill_null(ABSENT).to_numpy()
    return rows


def _twice(known: pa.Table, on: tuple[str, ...], repo_id: str) -> StoreMismatch:
    """The error of a dataset that changed: which rows stand under which revisions."""
    counts = known.group_by(list(on)).aggregate([("row", "count")])
    several = counts.filter(pc.greater(counts["row_count"], 1)).select(list(on))
    rows = known.join(several, keys=list(on), join_type="inner", use_threads=False)
    lines = []
    for revision in sorted(pc.unique(rows["revision"]).to_pylist()):
        of_it = rows.filter(pc.equal(rows["revision"], revision))
        lines.append(
            f"{revision}: {len(of_it)} rows of episodes {episode_ranges(set(of_it['episode_index'].to_pylist()))}"
        )
    return StoreMismatch(
        f"the store holds {len(several)} rows of {repo_id} twice, under several revisions of it",
        found=lines,
        expected="every row once: the dataset's frames changed between two extractions",
        remedy="extract the dataset as it is now into a store of its own",
    )


def refuse_absent(
    wanted: pa.Table,
    present: Bool[np.ndarray, " n"],
    feature: str,
    *,
    allow_partial: bool,
    on: tuple[str, ...],
    what: str = "labels",
) -> None:
    """StoreIncomplete if rows are missing; with ``allow_partial`` only if all are. ``what`` they are rows of."""
    missing = np.flatnonzero(~present)
    if not len(missing) or (allow_partial and present.any()):
        return
    first = wanted.slice(int(missing[0]), 1).select(list(on)).to_pylist()[0]
    episodes = sorted(set(wanted["episode_index"].to_numpy()[missing].tolist()))
    raise StoreIncomplete(
        f"the store has no row of feature `{feature}` for {len(missing)} of {len(wanted)} {what}",
        found=f"nothing for {first}; episodes {', '.join(map(str, episodes[:8]))}{' …' if len(episodes) > 8 else ''}",
        expected=f"a row for each of these {what}",
        remedy="run `vtt extract` with this manifest, or train on the rest with --allow-partial",
    )


def frame_groups(table: pa.Table) -> Int[np.ndarray, " n"]:
    """A number for every frame: rows of one (episode, frame, camera) share it."""
    seen: dict[tuple[object, ...], int] = {}
    keys = zip(*(table[name].to_pylist() for name in FRAME), strict=True)
    return np.array([seen.setdefault(key, len(seen)) for key in keys], dtype=np.int64)
