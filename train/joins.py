"""Which store row belongs to which label: joins on what a frame or query is called, never on row numbers."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int

from ..pipeline.errors import StoreError, StoreIncomplete

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
        StoreError: one wanted row has two store rows.
    """
    known = index.filter(pc.equal(index["repo_id"], repo_id)).select([*on, "row"])
    numbered = wanted.select(list(on)).append_column("example", pa.array(np.arange(len(wanted))))
    joined = numbered.join(known, keys=list(on), join_type="left outer", use_threads=False)
    if len(joined) != len(wanted):
        raise StoreError(
            "the store holds some rows of this dataset twice, under several revisions",
            found=sorted(pc.unique(index["revision"]).to_pylist()),
            remedy="extract into a store of its own",
        )
    rows = np.full(len(wanted), ABSENT, dtype=np.int64)
    rows[joined["example"].to_numpy()] = joined["row"].fill_null(ABSENT).to_numpy()
    return rows


def refuse_absent(
    wanted: pa.Table, present: Bool[np.ndarray, " n"], feature: str, *, allow_partial: bool, on: tuple[str, ...]
) -> None:
    """StoreIncomplete if rows are missing; with ``allow_partial`` only if all are."""
    missing = np.flatnonzero(~present)
    if not len(missing) or (allow_partial and present.any()):
        return
    first = wanted.slice(int(missing[0]), 1).select(list(on)).to_pylist()[0]
    episodes = sorted(set(wanted["episode_index"].to_numpy()[missing].tolist()))
    raise StoreIncomplete(
        f"the store has no row of feature `{feature}` for {len(missing)} of {len(wanted)} labels",
        found=f"nothing for {first}; episodes {', '.join(map(str, episodes[:8]))}{' …' if len(episodes) > 8 else ''}",
        expected="a row for every label",
        remedy="run `vtt extract` with this manifest, or train on the rest with --allow-partial",
    )


def frame_groups(table: pa.Table) -> Int[np.ndarray, " n"]:
    """A number for every frame: rows of one (episode, frame, camera) share it."""
    seen: dict[tuple[object, ...], int] = {}
    keys = zip(*(table[name].to_pylist() for name in FRAME), strict=True)
    return np.array([seen.setdefault(key, len(seen)) for key in keys], dtype=np.int64)
