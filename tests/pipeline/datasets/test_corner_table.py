"""True corners, read from beside the labels."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visual_thought.pipeline.datasets.corners import (
    CORNER_SCHEMA,
    corners_beside,
    read_corners,
    visible_corners,
)
from visual_thought.pipeline.errors import ManifestError


def corner(episode: int, frame: int, x: float, *, visible: bool = True) -> dict:
    place = {"x": x, "y": 2 * x, "inward_x": 0.0, "inward_y": 0.0}
    return (
        {"episode_index": episode, "frame_index": frame, "camera": "main", "corner": 0, "held": False}
        | place
        | {"visible": visible}
    )


@pytest.fixture
def table(tmp_path):
    rows = [corner(0, 1, 5.0), corner(0, 1, 7.0), corner(0, 2, 1.0, visible=False), corner(3, 0, 2.0)]
    pq.write_table(pa.Table.from_pylist(rows, schema=CORNER_SCHEMA), tmp_path / "corners.parquet")
    return read_corners(tmp_path / "corners.parquet")


def test_every_frame_gets_its_visible_corners_in_its_own_row(table):
    frames = pa.table({"episode_index": [3, 0, 0, 0], "frame_index": [0, 1, 2, 9], "camera": ["main"] * 4})
    found = visible_corners(table, frames)
    assert found.shape == (4, 2, 2)
    assert found[1].tolist() == [[5.0, 10.0], [7.0, 14.0]]
    assert found[0, 0].tolist() == [2.0, 4.0]
    assert np.isnan(found[0, 1]).all()
    assert np.isnan(found[2:]).all()


def test_no_corners_at_all_leave_no_columns(table):
    frames = pa.table({"episode_index": [0], "frame_index": [0], "camera": ["main"]})
    assert visible_corners(table.slice(0, 0), frames).shape == (1, 0, 2)


def test_the_table_lies_beside_the_labels_or_nowhere(tmp_path):
    assert corners_beside(None) is None
    assert corners_beside(tmp_path / "labels.parquet") is None
    (tmp_path / "corners.parquet").touch()
    assert corners_beside(tmp_path / "labels.parquet") == tmp_path / "corners.parquet"


def test_another_table_is_refused(tmp_path):
    path = tmp_path / "corners.parquet"
    for write in (lambda: path.write_bytes(b"no"), lambda: pq.write_table(pa.table({"x": [1.0]}), path)):
        write()
        with pytest.raises(ManifestError, match="holds no corners"):
            read_corners(path)
