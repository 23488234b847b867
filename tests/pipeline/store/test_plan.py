import numpy as np
import pyarrow as pa
import pytest

from visual_thought.pipeline.errors import StoreError, StoreMismatch
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array

from .toys import FORMAT_NAMES, a_spec, files_below, fill, some_frames, some_queries, some_values


@pytest.fixture
def store(tmp_path):
    return FeatureStore.create(tmp_path / "store")


def commit(store, plan, *parts):
    values = some_values(plan.spec, plan.table.num_rows)
    for part in parts:
        rows = plan.part_range(part)
        commit_part(store, plan, part, values[rows.start : rows.stop])


@pytest.mark.parametrize("store_format", FORMAT_NAMES)
def test_a_first_plan_makes_one_index_and_one_array(store, store_format):
    (plan,) = plan_array(store, a_spec(), some_frames(), store_format=store_format)
    assert (plan.num_parts, plan.missing, plan.part_rows) == (3, (0, 1, 2), 128)
    assert [len(plan.part_range(part)) for part in range(3)] == [128, 128, 44]
    assert plan.part_table(2)["frame_index"].to_pylist() == list(range(56, 100))
    assert plan.bytes_missing == 300 * 3 * 4 * 2
    (array,) = store.arrays()
    assert (array.index_id, array.key, array.rows, array.num_parts) == (plan.index_id, a_spec().key, 300, 3)
    assert store.index("z").equals(plan.table)


def test_a_dry_plan_says_the_same_and_writes_nothing(store):
    before = files_below(store.path), sorted(store.path.iterdir())
    (dry,) = plan_array(store, a_spec(), some_frames(), dry=True)
    assert (files_below(store.path), sorted(store.path.iterdir())) == before
    with pytest.raises(StoreError, match="dry"):
        commit(store, dry, 0)
    (plan,) = plan_array(store, a_spec(), some_frames())
    assert (plan.index_id, plan.missing, plan.num_parts) == (dry.index_id, dry.missing, dry.num_parts)


def test_planning_again_changes_nothing_whatever_the_order_of_rows(store):
    (plan,) = plan_array(store, a_spec(), some_frames())
    before = files_below(store.path)
    shuffled = some_frames().take(np.random.default_rng(0).permutation(300))
    (again,) = plan_array(store, a_spec(), shuffled)
    assert (again.index_id, again.missing) == (plan.index_id, plan.missing)
    assert files_below(store.path) == before


def test_resuming_returns_only_the_missing_parts(store):
    (plan,) = plan_array(store, a_spec(), some_frames())
    commit(store, plan, 1)
    assert plan_array(store, a_spec(), some_frames())[0].missing == (0, 2)
    commit(store, plan, 0, 2)
    assert plan_array(store, a_spec(), some_frames())[0].missing == ()


def test_only_parts_that_hold_a_wanted_row_are_missing(store):
    plan_array(store, a_spec(), some_frames())
    (plan,) = plan_array(store, a_spec(), some_frames(10, start=250))
    assert (plan.missing, plan.table.num_rows) == ((1, 2), 300)


def test_an_append_is_a_new_index_of_the_missing_rows_only(store):
    first = fill(store, a_spec(), some_frames(200), some_values(a_spec(), 200))
    before = files_below(store.path)
    old, new = plan_array(store, a_spec(), some_frames(260))
    assert (old.index_id, old.missing) == (first.index_id, ())
    assert (new.table.num_rows, new.missing) == (60, (0,))
    assert new.table["episode_index"].to_pylist() == [2] * 60
    assert before.items() <= files_below(store.path).items()
    assert store.status("z") == (200, 260, {new.index_id: ("000000",)})


def test_rows_follow_the_order_of_index_ids_and_keep_it(store):
    for stop in (50, 90, 130, 170):
        for plan in plan_array(store, a_spec(), some_frames(stop)):
            commit(store, plan, *plan.missing)
    ids = [array.index_id for array in store.arrays()]
    assert ids == sorted(ids)
    assert len(ids) == 4
    assert store.index("z").equals(pa.concat_tables([store.index_table(index_id) for index_id in ids]))


def test_two_features_of_the_same_rows_share_one_index(store):
    plan_array(store, a_spec("z"), some_frames())
    plan_array(store, a_spec("e", shape=(7,)), some_frames())
    assert len(list(store.layout.indexes.iterdir())) == 1
    assert len(store.arrays()) == 2


def test_another_fingerprint_is_another_array(store):
    fill(store, a_spec(), some_frames(), some_values(a_spec()))
    (plan,) = plan_array(store, a_spec(numerics=2), some_frames())
    assert plan.missing == (0, 1, 2)
    assert len(store.features()) == 2


@pytest.mark.parametrize("changes", [{"tier": "fp32"}, {"shape": (4, 3)}])
def test_the_same_computation_stored_otherwise_is_refused_and_nothing_written(store, changes):
    plan_array(store, a_spec(), some_frames())
    before = files_below(store.path)
    with pytest.raises(StoreMismatch, match=f"{next(iter(changes))}: "):
        plan_array(store, a_spec(**changes), some_frames(400))
    assert files_below(store.path) == before


def test_a_moved_revision_is_new_rows_unless_the_pixels_are_the_same(store):
    fill(store, a_spec(), some_frames(200), some_values(a_spec(), 200))
    moved = some_frames(260, revision="r2")
    (plan,) = plan_array(store, a_spec(), moved, dry=True)
    assert plan.table.num_rows == 260
    old, new = plan_array(store, a_spec(), moved, same_pixels=moved.slice(0, 190), dry=True)
    assert (old.missing, new.table.num_rows) == ((), 70)
    assert set(new.table["revision"].to_pylist()) == {"r2"}


def test_queries_are_told_apart_by_their_instruction(store):
    spec, queries = a_spec(per="query"), some_queries(100)
    white = queries.filter(pa.array(["white" in words for words in queries["instruction"].to_pylist()]))
    plan_array(store, spec, white)
    old, new = plan_array(store, spec, queries)
    assert (old.table.num_rows, new.table.num_rows) == (100, 100)
    assert store.index("z").column_names[-1] == "instruction"


def test_no_rows_are_no_plan(store):
    assert plan_array(store, a_spec(), some_frames(0)) == []


def test_features_no_store_can_hold_are_refused(store):
    with pytest.raises(StoreError, match="cannot hold"):
        plan_array(store, a_spec(shape=(1, 2, 3, 4, 5)), some_frames())
    with pytest.raises(StoreError, match="cannot hold"):
        plan_array(store, a_spec(name="Z/../x"), some_frames(), dry=True)
    assert store.features() == {}
