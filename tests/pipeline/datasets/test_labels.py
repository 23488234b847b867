from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visual_thought.pipeline.datasets.labels import (
    LABEL_SCHEMA,
    encode_rle,
    label_rows,
    query_table,
    read_labels,
    write_labels,
)
from visual_thought.pipeline.datasets.lerobot import frame_table, open_source
from visual_thought.pipeline.errors import ManifestError
from visual_thought.pipeline.store.index import canonical

REGION = np.zeros((48, 64), bool)
REGION[10:20, 30:40] = True


def row(**changes):
    plain = {
        "episode_index": 0,
        "frame_index": 0,
        "camera": "main",
        "instruction": "pick up the orange cube",
        "target": "orange cube",
        "positive": True,
        "phase": "approach",
        "point_x": 34.5,
        "point_y": 14.5,
        "mask": encode_rle(REGION),
        "mask_height": 48,
        "mask_width": 64,
    }
    return plain | changes


NEGATIVE = {"target": "", "positive": False, "point_x": None, "point_y": None, "mask": None}


def table(*rows) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=pa.schema([field.with_nullable(True) for field in LABEL_SCHEMA]))


def test_labels_are_read_as_they_were_written(tmp_path):
    labels = table(
        row(),
        row(frame_index=1, **NEGATIVE),
        row(frame_index=2, mask=None),
        row(frame_index=3, point_x=None, point_y=None),
    )
    write_labels(tmp_path / "labels.parquet", labels)
    found = read_labels(tmp_path / "labels.parquet")
    assert found.schema == LABEL_SCHEMA
    assert found.to_pylist() == labels.to_pylist()


def test_columns_may_come_in_any_order_and_in_narrower_types(tmp_path):
    labels = table(row())
    narrow = labels.set_column(0, "episode_index", labels["episode_index"].cast(pa.int32()))
    pq.write_table(narrow.select(sorted(narrow.column_names)), tmp_path / "labels.parquet")
    assert read_labels(tmp_path / "labels.parquet").to_pylist() == labels.to_pylist()


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"episode_index": -1}, "episode_index"),
        ({"frame_index": -3}, "frame_index"),
        ({"frame_index": None}, "frame_index"),
        ({"camera": ""}, "camera"),
        ({"instruction": " "}, "instruction"),
        ({"instruction": None}, "instruction"),
        ({"positive": None}, "positive"),
        ({"target": ""}, "target"),
        ({"phase": "dance"}, "phase"),
        ({"point_y": None}, "point_y"),
        ({"point_x": 64.0}, "point_x"),
        ({"point_x": -0.5}, "point_x"),
        ({"point_y": 48.0}, "point_y"),
        ({"point_y": float("nan")}, "point_y"),
        ({"point_x": 29.9}, "point_x"),
        ({"point_x": None, "point_y": None, "mask": None}, "point_x"),
        ({"mask_height": None}, "mask_height"),
        ({"mask_height": None, "mask_width": None}, "mask_height"),
        ({"mask_height": 0}, "mask_height"),
        ({"mask_width": 65}, "mask"),
        ({"mask": "12 x"}, "mask"),
        ({"mask": str(48 * 64), "point_x": None, "point_y": None}, "mask"),
        ({"positive": False}, "target"),
        (NEGATIVE | {"target": "orange cube"}, "target"),
        (NEGATIVE | {"mask": encode_rle(REGION)}, "mask"),
        (NEGATIVE | {"point_x": 1.0, "point_y": 1.0}, "point_x"),
    ],
)
def test_an_impossible_value_is_named_by_row_and_column(tmp_path, changes, column):
    labels = table(row(), row(frame_index=1), row(frame_index=2) | changes)
    pq.write_table(labels, tmp_path / "labels.parquet")
    with pytest.raises(ManifestError, match=rf"labels\.parquet: row 2, column `{column}`"):
        read_labels(tmp_path / "labels.parquet")


def test_a_query_given_twice_is_refused(tmp_path):
    pq.write_table(table(row(), row(frame_index=1), row(phase="lift")), tmp_path / "labels.parquet")
    with pytest.raises(ManifestError, match="row 2, column `instruction`") as caught:
        read_labels(tmp_path / "labels.parquet")
    assert "row 0 is it too" in str(caught.value)


def test_impossible_labels_are_not_written(tmp_path):
    with pytest.raises(ManifestError, match="row 0"):
        write_labels(tmp_path / "labels.parquet", table(row(phase="dance")))
    assert not (tmp_path / "labels.parquet").exists()


def test_an_unknown_column_is_refused_and_the_nearest_named(tmp_path):
    labels = table(row())
    names = ["instructions" if name == "instruction" else name for name in labels.column_names]
    pq.write_table(labels.rename_columns(names), tmp_path / "labels.parquet")
    with pytest.raises(ManifestError, match="unknown column `instructions`") as caught:
        read_labels(tmp_path / "labels.parquet")
    assert caught.value.remedy == "did you mean `instruction`?"


def test_a_missing_column_is_named(tmp_path):
    pq.write_table(table(row()).drop_columns(["phase"]), tmp_path / "labels.parquet")
    with pytest.raises(ManifestError, match="columns are missing") as caught:
        read_labels(tmp_path / "labels.parquet")
    assert caught.value.expected == ["phase"]


def test_a_column_of_another_type_is_refused(tmp_path):
    labels = table(row())
    pq.write_table(labels.set_column(0, "episode_index", pa.array(["first"])), tmp_path / "labels.parquet")
    with pytest.raises(ManifestError, match="another type"):
        read_labels(tmp_path / "labels.parquet")


def test_an_absent_or_broken_file_is_named(tmp_path):
    with pytest.raises(ManifestError, match=r"labels\.parquet"):
        read_labels(tmp_path / "labels.parquet")
    (tmp_path / "labels.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ManifestError, match=r"labels\.parquet"):
        read_labels(tmp_path / "labels.parquet")


def test_without_labels_each_frame_is_asked_its_own_task(tiny_manifest):
    source = open_source(tiny_manifest)
    frames = frame_table(source, tiny_manifest)
    queries = query_table(frames, None, source)
    assert queries.drop_columns("instruction").equals(frames)
    assert queries.equals(canonical(queries, "query"))
    assert queries["instruction"].to_pylist()[25] == "Pick up blue cube and place inside white box"


def test_with_labels_their_rows_are_the_queries(tiny_manifest):
    source = open_source(tiny_manifest)
    labels = table(
        row(episode_index=1, camera="top", frame_index=7),
        row(episode_index=1, frame_index=7, instruction="b", **NEGATIVE),
        row(episode_index=1, frame_index=7, instruction="a"),
        row(),
    )
    queries = query_table(frame_table(source, tiny_manifest), labels, source)
    assert queries.equals(canonical(queries, "query"))
    keys = [(q["episode_index"], q["camera"], q["frame_index"], q["instruction"]) for q in queries.to_pylist()]
    text = "pick up the orange cube"
    assert keys == [(0, "main", 0, text), (1, "main", 7, "a"), (1, "main", 7, "b"), (1, "top", 7, text)]
    assert label_rows(queries, labels).tolist() == [3, 2, 1, 0]
    assert label_rows(queries, labels.slice(1)).tolist() == [2, 1, 0, -1]


def test_labels_of_frames_that_the_manifest_leaves_out_are_dropped(tiny_manifest):
    manifest = replace(tiny_manifest, stride=2, cameras=("main",), episodes=(0, 1))
    source = open_source(manifest)
    labels = table(row(), row(frame_index=1), row(camera="top"), row(episode_index=2))
    assert query_table(frame_table(source, manifest), labels, source).num_rows == 1
    with pytest.raises(ManifestError, match="no label is about a frame"):
        query_table(frame_table(source, manifest), labels.slice(1), source)


@pytest.mark.parametrize("place", [{"frame_index": 10}, {"episode_index": 3}, {"camera": "wrist"}])
def test_a_label_for_a_frame_that_does_not_exist_is_named(tiny_manifest, place):
    source = open_source(tiny_manifest)
    with pytest.raises(ManifestError, match="label row 1 is about a frame that does not exist") as caught:
        query_table(frame_table(source, tiny_manifest), table(row(), row(**place)), source)
    assert str(next(iter(place.values()))) in str(caught.value.found)
