"""Rows that are NaN or infinite: refused, or left out when told so."""

import shutil

import numpy as np
import pytest
from grounding_toys import (
    config_for,
    frame_rows,
    make_dataset,
    query_rows,
    r_spec,
    r_values,
    write_feature,
    z_spec,
    z_values,
)

from visual_thought.pipeline.errors import StoreCorrupt
from visual_thought.pipeline.record import read_record
from visual_thought.pipeline.store import FeatureStore
from visual_thought.train.run import train


@pytest.fixture
def spoilt(tmp_path):
    """The toys with one NaN in episode 1, frame 2, and one infinity in episode 4, frame 0, of R."""
    make_dataset(tmp_path)
    shutil.rmtree(tmp_path / "store")
    frames = frame_rows(6, 12)
    queries, values = query_rows(frames), r_values(frames)
    values[1 * 12 + 2, 0, 0, 0], values[4 * 12, 5, 5, 7] = np.nan, np.inf
    store = FeatureStore.create(tmp_path / "store")
    write_feature(store, z_spec(), queries, z_values(queries))
    write_feature(store, r_spec(), frames, values)
    return tmp_path


def test_receipts_count_them_and_training_refuses_them_by_name(spoilt):
    with pytest.raises(StoreCorrupt, match=r"NaN or infinite[\s\S]*2 rows of episodes 1, 4[\s\S]*--allow-nan"):
        train(config_for(spoilt))
    assert not (spoilt / "run").exists()


def test_leaving_out_missing_rows_is_no_permission_for_these(spoilt):
    with pytest.raises(StoreCorrupt, match="NaN or infinite"):
        train(config_for(spoilt, loader={"allow_partial": True}))


def test_told_so_it_trains_without_them_and_the_record_counts_their_examples(spoilt):
    train(config_for(spoilt, loader={"allow_nan": True}, steps=2))
    record = read_record(spoilt / "run" / "run.json")
    assert record.splits["left_out"] == {"examples": 6}  # three instructions a frame
    assert record.splits["train"]["examples"] == 4 * 12 * 3 - 3
    assert record.splits["val"]["examples"] == 12 * 3 - 3


def test_a_store_without_any_reads_no_part_for_it(tmp_path):
    make_dataset(tmp_path)
    store = FeatureStore.open(tmp_path / "store")
    with store.reader("r") as reader:
        assert not len(reader.suspect_rows)
