"""``corners.parquet``, beside the labels: where the corners of the cloth truly are, for every frame that shows one.

Coordinates are pixels of the frame; (0, 0) is the outer corner of the first pixel. A frame without rows has no corner.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float

from ..errors import ManifestError

CORNERS = "corners.parquet"
FRAME = ("episode_index", "frame_index", "camera")

CORNER_SCHEMA = pa.schema(
    [
        pa.field("episode_index", pa.int64(), nullable=False),
        pa.field("frame_index", pa.int64(), nullable=False),
        pa.field("camera", pa.string(), nullable=False),
        pa.field("corner", pa.int64(), nullable=False),
        pa.field("x", pa.float64(), nullable=False),
        pa.field("y", pa.float64(), nullable=False),
        pa.field("inward_x", pa.float64(), nullable=False),
        pa.field("inward_y", pa.float64(), nullable=False),
        pa.field("visible", pa.bool_(), nullable=False),
        pa.field("held", pa.bool_(), nullable=False),
    ]
)


def corners_beside(labels: Path | None) -> Path | None:
    """The corner table that lies beside a label file, if there is one."""
    path = None if labels is None else labels.parent / CORNERS
    return path if path is not None and path.is_file() else None


def read_corners(path: Path) -> pa.Table:
    """The table, in the columns of :data:`CORNER_SCHEMA`; ManifestError if it is another one."""
    try:
        with pq.ParquetFile(path) as file:
            table = file.read().select(CORNER_SCHEMA.names).cast(CORNER_SCHEMA)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        expected = [f"{field.name}: {field.type}" for field in CORNER_SCHEMA]
        raise ManifestError(f"{path} holds no corners", found=error, expected=expected) from None
    return table


def visible_corners(table: pa.Table, frames: pa.Table) -> Float[np.ndarray, "n k 2"]:
    """The (x, y) of every frame's visible corners, NaN where a frame has fewer than the most.

    Args:
        table: of :func:`read_corners`.
        frames: n rows with the columns of a frame (episode, frame, camera).
    """
    seen: dict[tuple[object, ...], list[tuple[float, float]]] = {}
    for row in table.filter(pc.field("visible")).to_pylist():
        seen.setdefault(tuple(row[name] for name in FRAME), []).append((row["x"], row["y"]))
    keys = list(zip(*(frames[name].to_pylist() for name in FRAME), strict=True))
    result = np.full((len(keys), max(map(len, seen.values()), default=0), 2), np.nan)
    for row, key in enumerate(keys):
        found = seen.get(key, [])
        result[row, : len(found)] = np.array(found).reshape(-1, 2)
    return result
