import errno
import os

import pytest

from visual_thought.pipeline.errors import ConfigError, StoreCorrupt, StoreError, StoreMismatch
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.compare import differences_of
from visual_thought.pipeline.store.merge import merge
from visual_thought.pipeline.store.verify import verify

from .lanes import FORMATS_IN_TURN
from .maintained import HARMS, a_store, array_of, extract
from .toys import FORMAT_NAMES, a_spec, files_below, read_all, some_frames, some_values


@pytest.fixture(params=FORMATS_IN_TURN)
def store_format(request):
    return request.param


@pytest.fixture
def make(tmp_path, store_format):
    """A store with some parts of z."""

    def fill(name, parts=None, **options):
        store = FeatureStore.create(tmp_path / name)
        extract(store, parts=parts, **({"store_format": store_format} | options))
        return store

    return fill


def test_parts_of_one_plan_come_together(tmp_path, make):
    one, two = make("one", [0]), make("two", [1, 2])
    done = merge(tmp_path / "all", [one.path, two.path])
    assert (done.linked, done.copied, done.same, done.different) == (3, 0, 0, [])
    assert differences_of(tmp_path / "all", make("whole").path) == []
    assert read_all(FeatureStore.open(tmp_path / "all")).tobytes() == some_values(a_spec()).tobytes()
    assert verify(tmp_path / "all", full=True).ok
    assert array_of(FeatureStore.open(tmp_path / "all")).part_path(0).samefile(array_of(one).part_path(0))


def test_bytes_are_copied_where_they_cannot_be_shared(tmp_path, make, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    one = make("one")
    monkeypatch.setattr(os, "link", refuse)  # a commit links within one folder, by a name it has kept
    done = merge(tmp_path / "all", [one.path])
    assert (done.linked, done.copied) == (0, 3)
    assert differences_of(tmp_path / "all", one.path) == []
    assert verify(tmp_path / "all", full=True).ok


def test_a_copy_shares_nothing_with_its_source(tmp_path, make):
    one = make("one")
    done = merge(tmp_path / "all", [one.path], link=False)
    assert (done.linked, done.copied) == (0, 3)
    assert all(path.stat().st_nlink == 1 for path in (tmp_path / "all").rglob("*") if path.is_file())
    assert differences_of(tmp_path / "all", one.path) == []


def test_sources_stay_as_they_are(tmp_path, make):
    one, two = make("one", [0]), make("two", [1])
    before = files_below(one.path), files_below(two.path)
    merge(tmp_path / "all", [one.path, two.path])
    assert (files_below(one.path), files_below(two.path)) == before


def test_merging_twice_adds_nothing(tmp_path, make):
    one = make("one")
    merge(tmp_path / "all", [one.path])
    before = files_below(tmp_path / "all")
    done = merge(tmp_path / "all", [one.path])
    assert (done.linked, done.same, done.bytes) == (0, 3, 0)
    assert files_below(tmp_path / "all") == before


def test_a_part_that_is_there_stays_and_other_bytes_are_reported(make):
    one, two = make("one", [0, 1]), make("two", seed=1)
    kept = array_of(one).part_path(0).read_bytes()
    done = merge(one.path, [two.path])
    assert done.linked == 1
    assert done.different == [f"part 00000{part} of {a_spec().key} (index {array_of(one).index_id})" for part in (0, 1)]
    assert array_of(one).part_path(0).read_bytes() == kept
    assert verify(one.path, full=True).ok


def test_a_part_left_without_a_receipt_is_described_as_it_is(make):
    one, two = make("one", [0]), make("two", seed=1)
    array_of(one).receipt_path(0).unlink()
    done = merge(one.path, [two.path])
    assert len(done.different) == 1
    assert verify(one.path, full=True).ok
    assert (read_all(one)[:128] == some_values(a_spec())[:128]).all()
    assert (read_all(one)[128:] == some_values(a_spec(), seed=1)[128:]).all()


def test_an_append_is_merged_as_an_index_of_its_own(tmp_path, make, store_format):
    one, two = make("one"), FeatureStore.create(tmp_path / "two")
    extract(two, table=some_frames(50, start=300), store_format=store_format)
    done = merge(one.path, [two.path])
    assert len(done.arrays) == 1
    assert FeatureStore.open(one.path).index("z").num_rows == 350
    assert verify(one.path, full=True).ok


def refused(target, sources, error, match):
    before = [files_below(path) for path in (target, *sources)]
    with pytest.raises(error, match=match):
        merge(target, sources)
    assert [files_below(path) for path in (target, *sources)] == before


@pytest.mark.parametrize("spec", [a_spec(tier="fp32"), a_spec(shape=(3, 5))])
def test_one_key_for_two_features_is_refused(tmp_path, make, store_format, spec):
    one, two = make("one"), FeatureStore.create(tmp_path / "two")
    extract(two, spec, store_format=store_format)
    refused(one.path, [two.path], StoreMismatch, "another feature")


def test_two_sources_that_contradict_each_other_make_no_target(tmp_path, make, store_format):
    one, two = make("one"), FeatureStore.create(tmp_path / "two")
    extract(two, a_spec(tier="fp32"), store_format=store_format)
    with pytest.raises(StoreMismatch):
        merge(tmp_path / "all", [one.path, two.path])
    assert not (tmp_path / "all").exists()


def test_another_format_of_the_same_rows_is_refused(tmp_path, make, store_format):
    other = next(name for name in FORMAT_NAMES if name != store_format)
    one, two = make("one", [0]), make("two", [1], store_format=other)
    refused(one.path, [two.path], StoreMismatch, f"format: {other} != {store_format}")


def test_another_format_that_is_only_claimed_is_refused(tmp_path, make, store_format):
    one, two = FeatureStore.create(tmp_path / "one"), make("two", [1])
    claim = one.layout.claim_file(array_of(two).index_id, a_spec().key)
    claim.parent.mkdir(parents=True)
    claim.write_text(f"{a_spec().key}{'.h5' if store_format == 'zarr' else '.zarr'}\n")
    refused(one.path, [two.path], StoreMismatch, "settles another format")


def test_rows_that_two_indexes_share_are_refused(tmp_path, make, store_format):
    one, two = make("one"), FeatureStore.create(tmp_path / "two")
    extract(two, table=some_frames(100, start=250), store_format=store_format)
    refused(one.path, [two.path], StoreError, r"50 rows, the first: \{.*'frame_index': 50")


@pytest.mark.parametrize("harm", ["part cut", "receipt flipped", "metadata changed", "a link"])
@pytest.mark.parametrize("whose", ["target", "source"])
def test_a_damaged_store_is_refused(make, harm, whose):
    one, two = make("one"), make("two", seed=1)
    harmed = one if whose == "target" else two
    HARMS[harm][1](harmed, array_of(harmed))
    refused(one.path, [two.path], StoreCorrupt, f"{whose[0] and harmed.path.name} is damaged")


def test_a_store_named_twice_is_refused(make):
    one, two = make("one"), make("two")
    refused(one.path, [one.path], ConfigError, "named twice")
    refused(one.path, [two.path, two.path], ConfigError, "named twice")


def test_a_source_that_is_none_is_refused(tmp_path, make):
    (tmp_path / "mine").mkdir()
    refused(make("one").path, [tmp_path / "mine"], StoreError, "no feature store")


def test_a_target_that_holds_something_else_is_refused(tmp_path, make):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("keep me")
    refused(tmp_path / "mine", [make("one").path], StoreError, "not empty")


def test_two_features_and_their_frames_come_along(tmp_path, store_format):
    one = a_store(tmp_path / "one", store_format)
    merge(tmp_path / "all", [one.path])
    merged = FeatureStore.open(tmp_path / "all")
    assert merged.frames("z").equals(one.frames("z"))
    assert merged.status("e") == one.status("e")
