"""Several plans in one store, and files that say something else under the name of another."""

import json

import numpy as np
import pytest

from visual_thought.pipeline.errors import StoreCorrupt, StoreError, StoreMismatch
from visual_thought.pipeline.spec import FeatureSpec
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.format import ArrayMeta, load_format
from visual_thought.pipeline.store.index import canonical, to_parquet
from visual_thought.pipeline.store.snapshot import seal
from visual_thought.pipeline.store.verify import verify

from .toys import (
    FORMAT_NAMES,
    a_spec,
    files_below,
    fill,
    filled_store,
    overwrite,
    read_all,
    some_frames,
    some_queries,
    some_values,
)

ROWS = 140


@pytest.fixture(params=FORMAT_NAMES)
def store_format(request):
    return request.param


def test_two_plans_of_one_store_do_not_touch_each_other(tmp_path, store_format):
    """Other computations, other rows, frames and queries: written in turns, part by part."""
    store = FeatureStore.create(tmp_path / "store")
    wanted = [
        (a_spec("z"), some_frames(ROWS)),
        (a_spec("z", numerics=2), some_frames(ROWS)),
        (a_spec("r", tier="fp32"), some_frames(ROWS, start=50)),
        (a_spec("t", per="query"), some_queries(ROWS)),
    ]
    plans = [plan_array(store, spec, rows, store_format=store_format)[0] for spec, rows in wanted]
    values = [some_values(plan.spec, plan.table.num_rows, seed=number) for number, plan in enumerate(plans)]
    for part in range(max(plan.num_parts for plan in plans)):
        for plan, numbers in zip(plans, values, strict=True):
            if part < plan.num_parts:
                rows = plan.part_range(part)
                commit_part(store, plan, part, numbers[rows.start : rows.stop])
    for plan, numbers in zip(plans, values, strict=True):
        assert read_all(store, plan.spec.key).tobytes() == numbers.tobytes()


def test_rows_that_two_plans_want_are_stored_once(tmp_path, store_format):
    store, _ = filled_store(tmp_path / "store", rows=ROWS, store_format=store_format)
    first, second = plan_array(store, a_spec(), some_frames(ROWS + 60))
    assert (first.missing, second.table.num_rows) == ((), 60)
    fill_plan(store, second)
    tables = [store.index_table(array.index_id).select(["episode_index", "frame_index"]) for array in store.arrays()]
    frames = [tuple(row.values()) for table in tables for row in table.to_pylist()]
    assert len(frames) == len(set(frames)) == ROWS + 60


def fill_plan(store, plan):
    values = some_values(plan.spec, plan.table.num_rows)
    for part in plan.missing:
        rows = plan.part_range(part)
        commit_part(store, plan, part, values[rows.start : rows.stop])


def tampered_meta(array, **changes):
    """Metadata of another array, whole in itself, that somebody could put under this one's name."""
    spec = array.spec.to_json() | changes
    return array.format.describe(ArrayMeta(FeatureSpec.from_json(spec), array.index_id, array.rows))


OTHER_KEY = {"compute": {"backbone": "another", "numerics": 1}}
OTHER_BYTES = {"tier": "fp32"}
SAME_BYTES = [{"shape": [4, 3]}, {"layout": {"grid": [2, 1], "prefix": 1, "text": 0}}]


@pytest.mark.parametrize("changes", [OTHER_KEY, OTHER_BYTES])
def test_metadata_of_another_feature_under_the_same_name_is_refused(tmp_path, store_format, changes):
    store, _ = filled_store(tmp_path / "store", rows=ROWS, store_format=store_format)
    (array,) = store.arrays()
    overwrite(array.path / array.format.metadata_name, tampered_meta(array, **changes))
    with pytest.raises(StoreError):
        read_all(store)


@pytest.mark.parametrize("changes", [OTHER_BYTES, *SAME_BYTES])
def test_a_writer_refuses_metadata_that_is_not_its_own(tmp_path, store_format, changes):
    """Even where the bytes of a row would mean as many numbers, and the metadata's own checksum was made to fit."""
    store, _ = filled_store(tmp_path / "store", rows=ROWS, store_format=store_format)
    (array,) = store.arrays()
    overwrite(array.path / array.format.metadata_name, tampered_meta(array, **changes))
    before = files_below(store.path)
    with pytest.raises(StoreMismatch):
        fill(store, a_spec(), some_frames(ROWS + 1), some_values(a_spec(), ROWS + 1))
    assert files_below(store.path) == before


@pytest.mark.parametrize("changes", SAME_BYTES)
def test_a_snapshot_tells_metadata_that_was_changed_and_given_a_new_checksum(tmp_path, store_format, changes):
    store, _ = filled_store(tmp_path / "store", rows=ROWS, store_format=store_format)
    seal(store.path)
    assert verify(store.path).ok
    (array,) = store.arrays()
    overwrite(array.path / array.format.metadata_name, tampered_meta(array, **changes))
    assert "snapshot" in {problem.kind for problem in verify(store.path).problems}


def test_every_number_of_the_metadata_counts(tmp_path, store_format):
    """Each changed in turn, the rest as it was."""
    store, _ = filled_store(tmp_path / "store", rows=ROWS, store_format=store_format)
    (array,) = store.arrays()
    path = array.path / array.format.metadata_name
    text = path.read_text()
    for number in {number for number in json.dumps(json.loads(text)).split() if number.strip("[],").isdigit()}:
        plain = number.strip("[],")
        overwrite(path, text.replace(f" {plain}", f" {int(plain) + 1}", 1).encode())
        with pytest.raises(StoreError):
            read_all(store)


def test_an_index_of_other_rows_under_the_same_id_is_refused(tmp_path, store_format):
    store, _ = filled_store(tmp_path / "store", rows=ROWS, store_format=store_format)
    (array,) = store.arrays()
    path = store.layout.index_file(array.index_id)
    for rows in (some_frames(ROWS, start=1), some_frames(ROWS - 1), some_frames(ROWS, repo_id="lab/other")):
        overwrite(path, to_parquet(canonical(rows, "frame")))
        with pytest.raises(StoreCorrupt, match="other rows"):
            FeatureStore.open(store.path).read("z", [0])
        with pytest.raises(StoreCorrupt, match="other rows"):
            plan_array(FeatureStore.open(store.path), a_spec(), some_frames(ROWS))


@pytest.mark.parametrize("said", [b"", b"\x1b[2Jz.zarr\n", b"x" * 10**5, b"../../z.zarr\n"])
def test_a_claim_that_says_something_else_stops_a_writer(tmp_path, store_format, said):
    """A writer that died after its claim, and a claim that somebody wrote over; nothing of it reaches a terminal."""
    store = FeatureStore.create(tmp_path / "store")
    (plan,) = plan_array(store, a_spec(), some_frames(ROWS), dry=True)
    claim = store.layout.claim_file(plan.index_id, a_spec().key)
    claim.parent.mkdir(parents=True)
    claim.write_bytes(said)
    with pytest.raises(StoreMismatch) as refused:
        plan_array(store, a_spec(), some_frames(ROWS), store_format=store_format)
    assert "\x1b" not in str(refused.value)
    assert len(str(refused.value)) < 30_000


def test_of_two_formats_for_one_array_the_later_is_told_which_came_first(tmp_path, store_format):
    """The first writer died before there was an array, so only its claim can tell."""
    store = FeatureStore.create(tmp_path / "store")
    other = next(name for name in FORMAT_NAMES if name != store_format)
    (plan,) = plan_array(store, a_spec(), some_frames(ROWS), dry=True)
    claim = store.layout.claim_file(plan.index_id, a_spec().key)
    claim.parent.mkdir(parents=True)
    claim.write_text(a_spec().key + load_format(other).suffix + "\n")
    with pytest.raises(StoreMismatch, match="another format") as refused:
        plan_array(store, a_spec(), some_frames(ROWS), store_format=store_format)
    assert load_format(other).suffix in str(refused.value)
    assert store.arrays() == []
    fill_plan(store, plan_array(store, a_spec(), some_frames(ROWS), store_format=other)[0])
    assert np.array_equal(read_all(store), some_values(a_spec(), ROWS))
