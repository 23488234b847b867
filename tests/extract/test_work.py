from dataclasses import replace

import pyarrow as pa
import pytest

from visual_thought.extract.work import FrameId, Key, frame_ids, query_chunks, schedule
from visual_thought.pipeline.spec import FeatureSpec, ImageSpec, TokenLayout
from visual_thought.pipeline.store import FeatureStore, plan_array
from visual_thought.pipeline.store.index import FRAME_SCHEMA, QUERY_SCHEMA

IMAGE = ImageSpec(8, 8)
R = FeatureSpec("r", "frame", (1, 1, 2), TokenLayout((1, 1)), IMAGE, "fp32", {"backbone": "r"})
Z = FeatureSpec("z", "query", (3, 2), TokenLayout((1, 1), 1, 1), IMAGE, "fp32", {"backbone": "z"})


def frame_rows(count, episode=0):
    return [("lab/x", "1", episode, index, "main", float(index)) for index in range(count)]


def table(rows, schema=FRAME_SCHEMA):
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)


@pytest.fixture
def store(tmp_path):
    return FeatureStore.create(tmp_path / "store")


def test_batches_are_cut_at_fixed_multiples_and_only_needed_ones_are_kept(store):
    wanted = table(frame_rows(300))
    (plan,) = plan_array(store, R, wanted)
    work = schedule([plan], wanted, None, 16)
    assert [len(batch.frames) for batch in work.batches] == [16] * 18 + [12]
    rest = type(plan)(plan.index_id, plan.spec, plan.table, (1,), plan.num_parts)
    kept = schedule([rest], wanted, None, 16).batches  # rows 128 to 255
    assert [batch.frames for batch in kept] == [batch.frames for batch in work.batches[8:16]]


def test_every_missing_row_has_exactly_one_place(store):
    frames = table(frame_rows(5))
    queries = table([(*row, text) for row in frame_rows(5) for text in ("a", "b")], QUERY_SCHEMA)
    work = schedule([*plan_array(store, Z, queries), *plan_array(store, R, frames)], frames, queries, 2)
    found = [places for batch in work.batches for places in batch.places.values()]
    assert len(found) == 15
    assert sorted(place for places in found for place in places) == sorted(
        [(0, row) for row in range(10)] + [(1, row) for row in range(5)]
    )
    assert work.frames == 5
    assert [len(batch.queries) for batch in work.batches] == [4, 4, 2]


def test_query_chunks_are_whole_and_only_those_with_a_missing_row(store):
    frames = table(frame_rows(2))
    queries = table([(*row, text) for row in frame_rows(2) for text in "abc"], QUERY_SCHEMA)
    work = schedule(plan_array(store, Z, queries), frames, queries, 2)
    (batch,) = work.batches
    chunks = list(query_chunks(batch, [Z.key], 2))
    assert [tuple(query.instruction for query in chunk) for chunk in chunks] == [("a", "b"), ("c", "a"), ("b", "c")]
    few = replace(batch, places={Key(Z.key, FrameId("lab/x", 0, "main", 1), "b"): ()})
    assert list(query_chunks(few, [Z.key], 2)) == chunks[2:]
    assert list(query_chunks(batch, [], 2)) == []


def test_frames_sort_like_the_frame_table():
    rows = [
        ("lab/x", "1", episode, index, camera, 0.0) for episode in (0, 2, 10) for camera in "ab" for index in (0, 9, 10)
    ]
    assert sorted(frame_ids(table(rows))) == frame_ids(table(rows))
