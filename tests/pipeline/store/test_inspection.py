import json

import pytest

from visual_thought.pipeline.errors import ConfigError, StoreCorrupt
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.inspection import inspect, said_numbers
from visual_thought.pipeline.store.snapshot import seal

from .maintained import COMMAND, INFO, a_store, array_of, extract
from .toys import FORMAT_NAMES, a_spec, flip, some_frames, some_queries


@pytest.fixture(params=FORMAT_NAMES)
def store_format(request):
    return request.param


@pytest.fixture
def store(tmp_path, store_format):
    return a_store(tmp_path / "store", store_format)


def test_it_says_what_made_a_feature_and_what_is_there(store, store_format):
    seal(store.path)
    found = inspect(store.path)
    assert found.snapshots == (1,)
    e, z = found.features
    assert (z.summary.rows_present, e.summary.rows_present, e.summary.rows_planned) == (300, 172, 300)
    assert (z.summary.formats, z.codecs, z.channel_scale) == ((store_format,), ("none",), None)
    assert z.seconds == {"decode": 1.5, "forward": 6.0}
    assert (z.hosts, z.versions, z.command) == ({"node-1": 3}, {"torch": ("2.11",)}, COMMAND)
    assert z.indexes == (array_of(store).index_id,)


def test_coverage_counts_what_is_there_and_nothing_that_is_planned(store):
    e, z = inspect(store.path).features
    (covered,) = z.coverage
    assert (covered.repo_id, covered.revision, covered.episodes, covered.cameras, covered.rows) == (
        "lab/cubes",
        "r1",
        (0, 1, 2),
        ("main",),
        300,
    )
    assert e.coverage[0].rows == 172
    (one,) = inspect_partly(store, [2]).coverage
    assert (one.episodes, one.rows) == ((2,), 44)


def inspect_partly(store, parts):
    extract(store, a_spec("y"), parts=parts)
    return inspect(store.path, "y").features[0]


def test_datasets_and_revisions_are_told_apart(tmp_path):
    store = FeatureStore.create(tmp_path / "store")
    for repo_id, revision in (("lab/cubes", "r1"), ("lab/cubes", "r2"), ("lab/cloth", "r1")):
        extract(store, table=some_frames(130, revision=revision, repo_id=repo_id))
    (z,) = inspect(store.path).features
    assert [(one.repo_id, one.revision, one.rows) for one in z.coverage] == [
        ("lab/cloth", "r1", 130),
        ("lab/cubes", "r1", 130),
        ("lab/cubes", "r2", 130),
    ]
    assert len(z.indexes) == 3


def test_queries_count_as_rows(tmp_path):
    store = FeatureStore.create(tmp_path / "store")
    extract(store, a_spec(per="query"), some_queries(40))
    assert inspect(store.path).features[0].coverage[0].rows == 80


def test_a_feature_without_a_part_is_covered_nowhere(tmp_path):
    store = FeatureStore.create(tmp_path / "store")
    extract(store, parts=[])
    (z,) = inspect(store.path).features
    assert (z.coverage, z.summary.rows_present, z.command) == ((), 0, None)
    assert "0 of 300 rows" in z.render()


def test_one_feature_may_be_asked_for_by_name(store):
    (only,) = inspect(store.path, "e").features
    assert only.summary.spec.name == "e"
    with pytest.raises(ConfigError, match="no feature 'q'"):
        inspect(store.path, "q")


def test_strange_information_in_receipts_is_left_out(tmp_path):
    store = FeatureStore.create(tmp_path / "store")
    extract(store, info={"host": 7, "seconds": "long", "versions": {"torch": None}, "command": ["rm"]})
    (z,) = inspect(store.path).features
    assert (z.hosts, z.seconds, z.versions, z.command) == ({}, {}, {}, None)


def test_a_damaged_receipt_is_an_error(store):
    flip(array_of(store).receipt_path(0), 200)
    with pytest.raises(StoreCorrupt):
        inspect(store.path)


def test_the_text_and_the_json_say_the_same(store):
    found = inspect(store.path)
    text, plain = found.render(), json.loads(json.dumps(found.to_json()))
    z = plain["features"][1]
    assert z["coverage"][0]["episodes"] == [0, 1, 2]
    assert z["hosts"] == {"node-1": 3}
    for said in (z["fingerprint"], "numerics: 1", "172 of 300 rows", "node-1 (3 parts)", INFO["command"], "3 x 4 bf16"):
        assert said in text


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([4], "4"), ([0, 1, 2, 4], "0–2, 4"), ([1, 3, 5, 6], "1, 3, 5–6")]
)
def test_runs_of_numbers_are_drawn_together(numbers, text):
    assert said_numbers(numbers) == text
