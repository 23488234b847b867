"""Labels meet store rows by what a frame or query is called."""

import numpy as np
import pyarrow as pa
import pytest

from visual_thought.pipeline.datasets.labels import select_labels
from visual_thought.pipeline.errors import ManifestError, StoreError, StoreIncomplete
from visual_thought.pipeline.manifest import DatasetManifest, ListedSplits
from visual_thought.train.joins import FRAME, QUERY, frame_groups, match_rows, refuse_absent

REPO = "a/b"


def rows(keys, **more) -> pa.Table:
    columns = {name: [key[i] for key in keys] for i, name in enumerate(QUERY)}
    return pa.table(columns | more)


def index(keys, repo=REPO, revision="r1", start=0) -> pa.Table:
    count = len(keys)
    more = {"repo_id": [repo] * count, "revision": [revision] * count, "row": np.arange(start, start + count)}
    return rows(keys, **more)


KEYS = [(0, 2, "main", "a"), (0, 2, "main", "b"), (0, 2, "top", "a"), (3, 2, "main", "a")]


def test_a_row_is_found_by_episode_frame_camera_and_instruction():
    wanted = rows([KEYS[3], KEYS[0], (0, 4, "main", "a"), KEYS[1]])
    assert match_rows(wanted, index(KEYS, start=10), QUERY, REPO).tolist() == [13, 10, -1, 11]


def test_rows_of_another_dataset_do_not_match():
    both = pa.concat_tables([index(KEYS, repo="x/y"), index(KEYS[:1], start=50)])
    assert match_rows(rows(KEYS), both, QUERY, REPO).tolist() == [50, -1, -1, -1]


def test_queries_of_one_frame_share_its_row():
    frames = index([KEYS[0], KEYS[2], KEYS[3]]).drop_columns(["instruction"])
    assert match_rows(rows(KEYS), frames, FRAME, REPO).tolist() == [0, 0, 1, 2]
    assert frame_groups(rows(KEYS)).tolist() == [0, 0, 1, 2]


def test_the_same_row_under_two_revisions_is_refused():
    both = pa.concat_tables([index(KEYS), index(KEYS[:1], revision="r2", start=4)])
    with pytest.raises(StoreError, match="twice"):
        match_rows(rows(KEYS), both, QUERY, REPO)


def test_missing_rows_are_named_and_tolerated_only_when_told():
    present = np.array([True, False, True, True])
    with pytest.raises(StoreIncomplete, match="1 of 4 labels") as error:
        refuse_absent(rows(KEYS), present, "z", allow_partial=False, on=QUERY)
    assert "'instruction': 'b'" in str(error.value)
    refuse_absent(rows(KEYS), present, "z", allow_partial=True, on=QUERY)
    with pytest.raises(StoreIncomplete, match="4 of 4"):
        refuse_absent(rows(KEYS), np.zeros(4, bool), "z", allow_partial=True, on=QUERY)


def manifest(**changes) -> DatasetManifest:
    splits = ListedSplits((0,), (3,), ())
    defaults = {"name": "m", "repo_id": REPO, "cameras": ("main",), "splits": splits, "licence": "x", "simulated": True}
    return DatasetManifest(**defaults | changes)


def test_labels_outside_the_manifests_cameras_episodes_and_stride_are_left_out():
    labels = rows([*KEYS, (3, 3, "main", "a")])
    assert len(select_labels(labels, manifest())) == 4
    assert len(select_labels(labels, manifest(stride=2))) == 3
    assert select_labels(labels, manifest(episodes=(3,), stride=2)).to_pylist() == rows(KEYS[3:]).to_pylist()


def test_a_manifest_that_leaves_no_label_is_refused():
    with pytest.raises(ManifestError, match="no label row"):
        select_labels(rows(KEYS), manifest(cameras=("wrist",)))
