import pytest

from visual_thought.pipeline.errors import StoreCorrupt, StoreError
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.compare import differences_of

from .maintained import a_store, array_of, extract
from .toys import FORMAT_NAMES, a_spec, flip


@pytest.fixture(params=FORMAT_NAMES)
def store_format(request):
    return request.param


@pytest.fixture
def pair(tmp_path, store_format):
    return a_store(tmp_path / "a", store_format), a_store(tmp_path / "b", store_format)


def test_the_same_work_makes_equal_stores_whoever_did_it(tmp_path, store_format):
    one, two = (FeatureStore.create(tmp_path / name) for name in ("a", "b"))
    extract(one, store_format=store_format, info={"host": "node-1"})
    extract(two, store_format=store_format, info={"host": "node-2", "seconds": {"forward": 9.0}})
    assert differences_of(one.path, two.path) == []


def test_a_store_that_has_more_is_named(pair):
    one, two = pair
    extract(two, a_spec("e", tier="fp32", shape=(5,)), parts=[1])
    extract(one, a_spec("y"))
    named, part = differences_of(one.path, two.path)
    assert named == f"only in {one.path}: {array_of(one, 'y').key} (index {array_of(one).index_id})"
    assert part.endswith(f"part 000001: only in {two.path}")


def test_other_bytes_are_named_by_part_and_field(tmp_path, store_format):
    one, two = (FeatureStore.create(tmp_path / name) for name in ("a", "b"))
    extract(one, store_format=store_format)
    extract(two, store_format=store_format, seed=1)
    lines = differences_of(one.path, two.path)
    assert [line.split(": ")[0].split(", ")[1] for line in lines] == ["part 000000", "part 000001", "part 000002"]
    assert all("sha256: " in line for line in lines)


def test_the_same_numbers_in_another_format_differ_in_the_format_alone(tmp_path):
    one, two = (FeatureStore.create(tmp_path / name) for name in ("a", "b"))
    extract(one, store_format="zarr")
    extract(two, store_format="hdf5")
    assert [line.split("): ")[1] for line in differences_of(one.path, two.path)] == ["format: zarr != hdf5"]


def test_other_numbers_in_another_format_are_counted(tmp_path):
    one, two = (FeatureStore.create(tmp_path / name) for name in ("a", "b"))
    extract(one, store_format="zarr", parts=[2])
    extract(two, store_format="hdf5", parts=[2], seed=1)
    assert differences_of(one.path, two.path)[1].endswith("part 000002: 44 of 44 rows hold other numbers")


def test_another_tier_is_named_field_by_field(tmp_path):
    one, two = (FeatureStore.create(tmp_path / name) for name in ("a", "b"))
    extract(one, a_spec())
    extract(two, a_spec(tier="fp32"))
    assert [line.split("): ")[1] for line in differences_of(one.path, two.path)] == ["tier: bf16 != fp32"]


def test_damage_is_an_error_and_never_equality(pair):
    one, two = pair
    flip(array_of(two).receipt_path(0), 400)
    with pytest.raises(StoreCorrupt):
        differences_of(one.path, two.path)
    with pytest.raises(StoreError, match="no feature store"):
        differences_of(one.path, one.path / "nothing")
