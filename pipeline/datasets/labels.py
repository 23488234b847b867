"""The label table: for a frame and an instruction, whether its target is in view, and where.

One parquet file, one row a (frame, instruction); the rows are the queries that get extracted.

| column | type | meaning |
|---|---|---|
| episode_index, frame_index | int64 | the frame |
| camera | string | short name, ``main`` |
| instruction | string | the query's text |
| target | string | "orange cube", "white box", …; "" where ``positive`` is false |
| positive | bool | the instruction's target is in view and relevant now |
| phase | string | approach, grasp, lift, carry, place, retreat, search, or "" if unknown |
| point_x, point_y | float64 or null | innermost pixel of the target (see :mod:`.masks`), in original pixels |
| mask | string or null | the target's region as run lengths (see :mod:`.masks`) |
| mask_height, mask_width | int64 or null | size of the original frame; needed with a mask, useful with a point alone |

A positive row has a point, a mask or both; a negative row has neither.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Int

from ..config import nearest
from ..errors import ManifestError
from ..manifest import DatasetManifest
from ..store.index import QUERY_SCHEMA
from .masks import contains, decode_rle, encode_rle, innermost_pixel, parse_runs
from .source import LeRobotSource

__all__ = [
    "LABEL_SCHEMA",
    "PHASES",
    "decode_rle",
    "encode_rle",
    "innermost_pixel",
    "label_rows",
    "query_table",
    "read_labels",
    "select_labels",
    "validate_labels",
    "write_labels",
]

PHASES = ("approach", "grasp", "lift", "carry", "place", "retreat", "search", "")
QUERY_KEY = ("episode_index", "frame_index", "camera", "instruction")

LABEL_SCHEMA = pa.schema(
    [
        pa.field("episode_index", pa.int64(), nullable=False),
        pa.field("frame_index", pa.int64(), nullable=False),
        pa.field("camera", pa.string(), nullable=False),
        pa.field("instruction", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("positive", pa.bool_(), nullable=False),
        pa.field("phase", pa.string(), nullable=False),
        pa.field("point_x", pa.float64()),
        pa.field("point_y", pa.float64()),
        pa.field("mask", pa.string()),
        pa.field("mask_height", pa.int64()),
        pa.field("mask_width", pa.int64()),
    ]
)

Row = dict[str, Any]


def read_labels(path: str | Path) -> pa.Table:
    """Read and validate a label table, columns in the order of ``LABEL_SCHEMA``.

    Raises:
        ManifestError: no such file, an unknown or missing column, or an impossible value (row and column are named).
    """
    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"cannot read the labels {path}", found=error, expected="a parquet file") from None
    return validate_labels(table, source=str(path))


def select_labels(labels: pa.Table, manifest: DatasetManifest) -> pa.Table:
    """The label rows that the manifest uses: its cameras, its episodes, every stride-th frame; ordered by query.

    Raises:
        ManifestError: none is left.
    """
    frame = labels["frame_index"].to_numpy()
    keep = pc.is_in(labels["camera"], pa.array(manifest.cameras)).to_numpy() & (frame % manifest.stride == 0)
    if manifest.episodes is not None:
        keep &= np.isin(labels["episode_index"].to_numpy(), manifest.episodes)
    if not keep.any():
        raise ManifestError(
            f"no label row belongs to the manifest {manifest.name}",
            found=f"{len(labels)} rows of cameras {', '.join(sorted(pc.unique(labels['camera']).to_pylist()))}",
            expected=f"cameras {', '.join(manifest.cameras)}, stride {manifest.stride}",
        )
    return labels.filter(pa.array(keep)).sort_by([(name, "ascending") for name in QUERY_KEY])


def write_labels(path: str | Path, table: pa.Table) -> None:
    """Write a label table that :func:`read_labels` accepts; raises ManifestError otherwise and writes nothing."""
    pq.write_table(validate_labels(table, source=f"the table for {path}"), path)


def validate_labels(table: pa.Table, *, source: str) -> pa.Table:
    """The table in ``LABEL_SCHEMA``'s order and types; raises ManifestError, naming row and column."""
    _check_columns(table.column_names, source)
    try:
        table = table.select(LABEL_SCHEMA.names).replace_schema_metadata(None)
        table = pa.table([table[field.name].cast(field.type) for field in LABEL_SCHEMA], names=LABEL_SCHEMA.names)
    except pa.ArrowException as error:
        expected = [f"{field.name}: {field.type}" for field in LABEL_SCHEMA]
        raise ManifestError(f"{source}: a column has another type", found=error, expected=expected) from None
    for field in LABEL_SCHEMA:
        if not field.nullable and table[field.name].null_count:
            row = pc.index(pc.is_null(table[field.name]), True).as_py()
            raise _wrong(source, row, field.name, None, "a value")
    _check_rows(table.to_pylist(), source)
    return table.cast(LABEL_SCHEMA)


def query_table(frames: pa.Table, labels: pa.Table | None, source: LeRobotSource) -> pa.Table:
    """The queries about the given frames, ordered by (episode, camera, frame, instruction).

    With labels, their rows; those about frames, episodes or cameras that the dataset has but the manifest left out are
    dropped. Without, one query a frame: its own instruction in the dataset.

    Raises:
        ManifestError: a label for a frame that the dataset has not, or no query left.
    """
    if labels is None:
        return _sorted(frames.append_column(QUERY_SCHEMA.field("instruction"), [_own_instructions(frames, source)]))
    _check_frames_exist(labels, source)
    keys = ["episode_index", "camera", "frame_index"]
    queries = frames.join(labels.select(QUERY_KEY), keys=keys, join_type="inner")
    if not queries.num_rows:
        raise ManifestError(
            "no label is about a frame of the manifest",
            found=f"{labels.num_rows} labels, {frames.num_rows} frames",
            remedy="compare the manifest's cameras, episodes and stride with the labels",
        )
    return _sorted(queries)


def label_rows(queries: pa.Table, labels: pa.Table) -> Int[np.ndarray, " n"]:
    """For every query its row in the label table; -1 where there is none."""
    places = {key: row for row, key in enumerate(_keys(labels))}
    return np.array([places.get(key, -1) for key in _keys(queries)], dtype=np.int64)


def _keys(table: pa.Table) -> Iterable[tuple[Any, ...]]:
    return zip(*(table[name].to_pylist() for name in QUERY_KEY), strict=True)


def _sorted(queries: pa.Table) -> pa.Table:
    order = [(name, "ascending") for name in ("repo_id", "episode_index", "camera", "frame_index", "instruction")]
    return queries.select(QUERY_SCHEMA.names).cast(QUERY_SCHEMA).sort_by(order).combine_chunks()


def _own_instructions(frames: pa.Table, source: LeRobotSource) -> list[str]:
    places = zip(frames["episode_index"].to_pylist(), frames["frame_index"].to_pylist(), strict=True)
    return [source.episode(episode).instructions[frame] for episode, frame in places]


def _check_frames_exist(labels: pa.Table, source: LeRobotSource) -> None:
    columns = (labels[name].to_pylist() for name in ("episode_index", "frame_index", "camera"))
    for row, (episode, frame, camera) in enumerate(zip(*columns, strict=True)):
        length = source.lengths.get(episode, 0)
        if frame >= length or camera not in source.all_cameras:
            raise ManifestError(
                f"label row {row} is about a frame that does not exist",
                found=f"episode {episode}, frame {frame}, camera {camera}",
                expected=f"{len(source.lengths)} episodes, {length} frames in this one, cameras {source.all_cameras}",
                remedy="the labels belong to another version of the dataset: correct `labels` in the manifest",
            )


def _check_columns(names: list[str], source: str) -> None:
    known = LABEL_SCHEMA.names
    for name in names:
        if name not in known or names.count(name) > 1:
            meant = nearest(name, [key for key in known if key not in names])
            raise ManifestError(
                f"{source}: unknown column `{name}`" if name not in known else f"{source}: column `{name}` twice",
                found=names,
                expected=known,
                remedy=f"did you mean `{meant}`?" if meant else f"remove `{name}`",
            )
    missing = [name for name in known if name not in names]
    if missing:
        raise ManifestError(f"{source}: columns are missing", found=names, expected=missing)


def _check_rows(rows: list[Row], source: str) -> None:
    seen: dict[tuple[Any, ...], int] = {}
    for number, row in enumerate(rows):
        for column, holds, expected in RULES:
            if not holds(row):
                raise _wrong(source, number, column, row[column], expected)
        _check_mask(row, number, source)
        first = seen.setdefault(tuple(row[name] for name in QUERY_KEY), number)
        if first != number:
            raise _wrong(
                source, number, "instruction", row["instruction"], f"one row a query, but row {first} is it too"
            )


def _check_mask(row: Row, number: int, source: str) -> None:
    if row["mask"] is None:
        return
    height, width = row["mask_height"], row["mask_width"]
    try:
        runs = parse_runs(row["mask"], height * width)
    except ManifestError as error:
        raise _wrong(source, number, "mask", f"{error.problem}: {error.found}", str(error.expected)) from None
    if len(runs) < 2:
        raise _wrong(source, number, "mask", "an empty region", "at least one pixel")
    if row["point_x"] is not None and not contains(runs, height, width, (row["point_x"], row["point_y"])):
        point = f"({row['point_x']}, {row['point_y']})"
        raise _wrong(source, number, "point_x", point, "a point inside the mask")


def _inside(value: float | None, size: int | None) -> bool:
    return value is None or (0 <= value < float("inf") and (size is None or value < size))


RULES: tuple[tuple[str, Callable[[Row], bool], str], ...] = (
    ("episode_index", lambda row: row["episode_index"] >= 0, "0 or more"),
    ("frame_index", lambda row: row["frame_index"] >= 0, "0 or more"),
    ("camera", lambda row: bool(row["camera"]), "a short camera name"),
    ("instruction", lambda row: bool(row["instruction"].strip()), "a text"),
    ("phase", lambda row: row["phase"] in PHASES, f"one of {PHASES}"),
    (
        "target",
        lambda row: bool(row["target"]) == row["positive"],
        'a name where positive is true, "" where it is false',
    ),
    ("mask_height", lambda row: (row["mask_height"] is None) == (row["mask_width"] is None), "both sizes or neither"),
    ("mask_height", lambda row: row["mask_height"] is None or row["mask_height"] > 0, "1 or more"),
    ("mask_width", lambda row: row["mask_width"] is None or row["mask_width"] > 0, "1 or more"),
    ("mask_height", lambda row: row["mask"] is None or row["mask_height"] is not None, "the size of the mask"),
    ("point_y", lambda row: (row["point_x"] is None) == (row["point_y"] is None), "both coordinates or neither"),
    ("point_x", lambda row: _inside(row["point_x"], row["mask_width"]), "a place inside the frame"),
    ("point_y", lambda row: _inside(row["point_y"], row["mask_height"]), "a place inside the frame"),
    ("mask", lambda row: row["positive"] or row["mask"] is None, "null, because positive is false"),
    ("point_x", lambda row: row["positive"] or row["point_x"] is None, "null, because positive is false"),
    (
        "point_x",
        lambda row: not row["positive"] or row["point_x"] is not None or row["mask"] is not None,
        "a point or a mask, because positive is true",
    ),
)


def _wrong(source: str, row: int, column: str, found: object, expected: str) -> ManifestError:
    shown = "nothing (null)" if found is None else repr(found)
    return ManifestError(f"{source}: row {row}, column `{column}` is impossible", found=shown, expected=expected)
