import json

import numpy as np
import pytest

from visual_thought.pipeline.errors import StoreCorrupt
from visual_thought.pipeline.store import FeatureStore, summarise
from visual_thought.pipeline.store.listing import readable_bytes

from .toys import a_spec, fill, filled_store, flip, some_frames, some_values


def test_a_summary_adds_up(tmp_path):
    store, _ = filled_store(tmp_path / "store")
    spec = a_spec("e", tier="fp32", shape=(5,))
    values = some_values(spec)
    values[3], values[4] = np.nan, np.inf
    fill(store, spec, some_frames(), values, parts=[0, 2])
    summary = summarise(store)
    e, z = summary.features
    assert (e.spec.key, e.complete, e.rows_present, e.rows_planned) == (spec.key, False, 172, 300)
    assert (e.parts_present, e.parts_planned, e.nan_count, e.inf_count) == (2, 3, 5, 5)
    assert (z.complete, z.arrays, z.spec.tier, z.spec.shape, z.formats) == (True, 1, "bf16", (3, 4), ("zarr",))
    (array,) = (array for array in store.arrays() if array.key == z.spec.key)
    assert z.bytes == sum(array.part_path(part).stat().st_size for part in range(3))
    assert summary.bytes == e.bytes + z.bytes


def test_an_empty_store_has_an_empty_summary(tmp_path):
    summary = summarise(FeatureStore.create(tmp_path / "store"))
    assert (summary.features, summary.bytes) == ((), 0)


def test_a_damaged_receipt_is_an_error_and_never_a_number(tmp_path):
    store, _ = filled_store(tmp_path / "store")
    flip(store.arrays()[0].receipt_path(1), 100)
    with pytest.raises(StoreCorrupt, match=r"000001\.json"):
        summarise(store)


def test_a_summary_is_said_as_a_table_and_as_json(tmp_path):
    store, _ = filled_store(tmp_path / "store")
    fill(store, a_spec("e", shape=(5,)), some_frames(), some_values(a_spec(shape=(5,))), parts=[0])
    head, columns, e, z = summarise(store).render().splitlines()
    assert head == f"{store.path}: 2 features, 18.4 kB"  # 300 x (24 + 4) + 128 x (10 + 4) + 4 x (16 x 128 + 4)
    assert columns.split()[:3] == ["feature", "rows", "per"]
    assert "128 of 300 (43%)" in e
    assert z.split() == [a_spec().key, "300", "frame", "3", "x", "4", "bf16", "14.6", "kB", "-"]
    plain = json.loads(json.dumps(summarise(store).to_json()))
    assert [feature["key"] for feature in plain["features"]] == [a_spec("e", shape=(5,)).key, a_spec().key]
    assert plain["features"][1]["fingerprint"] == a_spec().fingerprint
    assert plain["features"][1]["spec"] == a_spec().to_json()
    assert plain["features"][0]["rows_present"] == 128


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (26214400, "26.2 MB"), (10**12, "1 TB"), (5 * 10**16, "50000 TB")]
)
def test_bytes_are_said_in_three_digits(count, text):
    assert readable_bytes(count) == text
