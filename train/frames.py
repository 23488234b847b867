"""Examples that are frames: each with Z of its own instruction, and the teacher's row of the same frame."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int

from ..pipeline.datasets.instructions import own_instructions
from ..pipeline.errors import ConfigError, DatasetError, ManifestError
from ..pipeline.manifest import DatasetManifest
from .joins import ABSENT, FRAME, QUERY, match_rows, refuse_absent
from .sampling import BLIND, permute_within
from .tasks.base import Examples


def frame_examples(
    manifest: DatasetManifest, indexes: Mapping[str, pa.Table], teacher: str, *, may_lack_rows: bool
) -> Examples:
    """Every frame of the manifest that the teacher's feature holds, with the Z of its own instruction.

    Where the store has one instruction a frame, that one is its own; where it has several, the dataset says which.

    Args:
        manifest: episodes, cameras, stride.
        indexes: readable rows of ``z`` and of the teacher, with their numbers in the column ``row``.
        teacher: the task's name of the teacher's feature.
        may_lack_rows: leave out frames that lack a row instead of refusing them.

    Raises:
        ManifestError: the store holds no frame of the manifest.
        StoreIncomplete: frames without Z of their own instruction.
        DatasetError: the dataset is needed to tell a frame's own instruction, and is not at hand.
    """
    frames = select_frames(indexes[teacher], manifest)
    wanted = _with_instructions(frames, select_frames(indexes["z"], manifest), manifest)
    rows = match_rows(wanted, indexes["z"], QUERY, manifest.repo_id)
    refuse_absent(wanted, rows >= 0, "z", allow_partial=may_lack_rows, on=QUERY, what="frames")
    kept = rows != ABSENT
    table = wanted.filter(pa.array(kept))
    return Examples(
        table=table.select(list(QUERY)),
        queries=_queries(table, indexes["z"], manifest.repo_id),
        rows={"z": rows[kept], teacher: table["row"].to_numpy()},
        targets={},
        episodes=tuple(sorted(set(wanted["episode_index"].to_pylist()))),
        left_out=int((~kept).sum()),
    )


def select_frames(index: pa.Table, manifest: DatasetManifest) -> pa.Table:
    """The rows of an index that the manifest uses: its dataset, cameras, episodes, every stride-th frame; in order.

    Raises:
        ManifestError: there is none.
    """
    keep = pc.and_(pc.equal(index["repo_id"], manifest.repo_id), pc.is_in(index["camera"], pa.array(manifest.cameras)))
    if manifest.episodes is not None:
        keep = pc.and_(keep, pc.is_in(index["episode_index"], pa.array(manifest.episodes)))
    found = index.filter(pc.and_(keep, pa.array(index["frame_index"].to_numpy() % manifest.stride == 0)))
    if not len(found):
        raise ManifestError(
            f"the store holds no frame of the manifest {manifest.name}",
            found=sorted(set(index["repo_id"].to_pylist())),
            expected=f"{manifest.repo_id}, cameras {', '.join(manifest.cameras)}, stride {manifest.stride}",
            remedy="run `vtt extract` with this manifest",
        )
    return found.sort_by([(name, "ascending") for name in FRAME])


def stand_ins(queries: Int[np.ndarray, "m 2"], seed: int) -> Int[np.ndarray, " n"]:
    """For every example the row of one query of its frame, drawn at random, its own included: Z without the question.

    Args:
        queries: (example, row of ``z``) of every query of every example's frame, by example.
        seed: of the draw.

    Raises:
        ConfigError: most frames have one query only.
    """
    example, row = queries.T
    refuse_single_queries(example)
    shuffled = permute_within(example, np.random.default_rng([seed, BLIND]))
    first = np.searchsorted(example, np.arange(example[-1] + 1))
    chosen: Int[np.ndarray, " n"] = row[shuffled[first]]
    return chosen


def refuse_single_queries(groups: Int[np.ndarray, " n"]) -> None:
    """ConfigError if fewer than half of the frames (numbers, one a query) have two queries or more."""
    sizes = np.bincount(groups)
    if (sizes > 1).mean() < 0.5:
        raise ConfigError(
            "an instruction-blind control needs frames with several instructions",
            found=f"{int((sizes > 1).sum())} of {len(sizes)} frames have two or more",
            expected="at least half of them",
            remedy="label more instructions, or remove instruction_blind from controls",
        )


def _queries(table: pa.Table, index: pa.Table, repo_id: str) -> Int[np.ndarray, "m 2"]:
    """(example, row of ``z``) of every query of every example's frame, by example and instruction."""
    numbered = table.select(list(FRAME)).append_column("example", pa.array(np.arange(len(table))))
    known = index.filter(pc.equal(index["repo_id"], repo_id)).select([*FRAME, "instruction", "row"])
    joined = known.join(numbered, keys=list(FRAME), join_type="inner", use_threads=False)
    joined = joined.sort_by([("example", "ascending"), ("instruction", "ascending")])
    return np.stack([joined["example"].to_numpy(), joined["row"].to_numpy()], axis=1)


def _with_instructions(frames: pa.Table, queries: pa.Table, manifest: DatasetManifest) -> pa.Table:
    """The frames with the column ``instruction``: the only one the store has for them, else the dataset's own."""
    counts = queries.group_by(list(FRAME)).aggregate([("instruction", "count_distinct"), ("instruction", "min")])
    if pc.max(counts["instruction_count_distinct"]).as_py() == 1:
        known = counts.select([*FRAME, "instruction_min"]).rename_columns([*FRAME, "instruction"])
        joined = frames.join(known, keys=list(FRAME), join_type="left outer", use_threads=False)
        texts = joined.sort_by([(name, "ascending") for name in FRAME])["instruction"].fill_null("")
    else:
        own = own_instructions(manifest)
        places = zip(frames["episode_index"].to_pylist(), frames["frame_index"].to_pylist(), strict=True)
        texts = pa.array([_own(own, manifest, episode, frame) for episode, frame in places])
    return frames.append_column("instruction", texts)


def _own(own: Mapping[int, tuple[str, ...]], manifest: DatasetManifest, episode: int, frame: int) -> str:
    if episode not in own or frame >= len(own[episode]):
        raise DatasetError(
            f"the dataset at {manifest.root} is not the one the store was made from",
            found=f"{len(own)} episodes, {len(own.get(episode, ()))} frames of episode {episode}",
            expected=f"frame {frame} of episode {episode}",
            remedy="correct `root` in the manifest",
        )
    return own[episode][frame]
