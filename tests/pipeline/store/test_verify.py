import json

import numpy as np
import pytest

from visual_thought.pipeline.errors import StoreError
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.format import load_format
from visual_thought.pipeline.store.snapshot import seal
from visual_thought.pipeline.store.verify import verify

from .lanes import FORMATS_IN_TURN
from .maintained import COMMAND, DEEP_HARMS, HARMS, a_store, array_of, extract
from .toys import FORMAT_NAMES, a_spec, files_below, fill, flip, row_spans, some_frames, some_queries, some_values


@pytest.fixture(params=FORMATS_IN_TURN)
def store(tmp_path, request):
    return a_store(tmp_path / "store", request.param)


@pytest.mark.parametrize("full", [False, True])
def test_a_whole_store_has_no_problem_and_stays_as_it_is(store, full):
    before = files_below(store.path)
    verdict = verify(store.path, full=full)
    assert (verdict.ok, verdict.problems, verdict.notes) == (True, (), ())
    assert (verdict.parts, verdict.rows, verdict.full) == (5, 472, full)
    assert verdict.bytes == sum(path.stat().st_size for array in store.arrays() for path in array.path.glob("*[0-9]*"))
    assert files_below(store.path) == before


def test_a_store_without_claims_is_whole_and_can_be_continued(store):
    """Stores of the first releases have none."""
    for array in store.arrays():
        store.layout.claim_file(array.index_id, array.key).unlink()
    assert verify(store.path, full=True).ok
    assert extract(store, a_spec("e", tier="fp32", shape=(5,))) == [1]
    assert verify(store.path, full=True).ok


@pytest.mark.parametrize("harm", HARMS)
def test_a_quick_look_names_what_is_wrong(store, harm):
    kind, act = HARMS[harm]
    act(store, array_of(store))
    verdict = verify(store.path)
    assert not verdict.ok
    assert kind in {problem.kind for problem in verdict.problems}
    assert verify(store.path, full=True).problems == verdict.problems
    assert json.loads(json.dumps(verdict.to_json()))["ok"] is False


@pytest.mark.parametrize("harm", [name for name, (kind, _) in HARMS.items() if kind in ("part", "receipt", "frames")])
def test_a_damaged_part_is_named_with_its_rows_its_frames_and_its_command(store, harm):
    z = array_of(store)
    HARMS[harm][1](store, z)
    (problem,) = verify(store.path).problems
    assert (problem.index_id, problem.feature, problem.part, problem.rows) == (z.index_id, z.key, 1, (128, 256))
    assert problem.holds == "lab/cubes, main: episode 1 frames 28–99, episode 2 frames 0–55"
    assert problem.remake == COMMAND


@pytest.mark.parametrize("harm", DEEP_HARMS)
def test_reading_every_byte_finds_what_a_quick_look_cannot(store, harm):
    z = array_of(store)
    DEEP_HARMS[harm](store, z)
    assert verify(store.path).ok
    (problem,) = verify(store.path, full=True).problems
    assert (problem.kind, problem.feature, problem.part, problem.path) == ("part", z.key, 1, z.part_path(1))


def test_damaged_rows_are_named_one_by_one(store):
    z = array_of(store)
    offset, _ = row_spans(z, 1)[40]
    flip(z.part_path(1), int(8 * offset) + 3)
    (problem,) = verify(store.path, full=True).problems
    assert problem.rows == (168, 169)
    assert problem.holds == "lab/cubes, main: episode 1 frame 68"
    assert "1 row of 128 damaged" in problem.what


def test_compressed_rows_are_proven_too(tmp_path):
    store = FeatureStore.create(tmp_path / "store")
    extract(store, codec="bitshuffle-zstd")
    z = array_of(store)
    assert verify(store.path, full=True).ok
    offset, size = row_spans(z, 2)[3]
    flip(z.part_path(2), int(8 * (offset + size - 1)))
    (problem,) = verify(store.path, full=True).problems
    assert (problem.part, problem.rows) == (2, (259, 260))


def test_all_damage_is_found_in_one_go(store):
    z = array_of(store)
    z.part_path(0).unlink()
    flip(z.receipt_path(2), 500)
    flip(store.layout.index_file(z.index_id), 8000)
    store.layout.schema_file.unlink()
    kinds = sorted(problem.kind for problem in verify(store.path).problems)
    assert kinds == ["index", "part", "receipt", "schema"]


def test_a_receipt_for_a_part_that_cannot_be_is_found(store):
    z = array_of(store)
    store.layout.receipt_file(z.index_id, z.key, 7).write_bytes(z.receipt_path(0).read_bytes())
    (problem,) = verify(store.path).problems
    assert (problem.kind, problem.part) == ("receipt", 7)


def test_an_array_as_long_as_no_index_is_found(store):
    z = array_of(store)
    meta = z.meta.__class__(z.spec, z.index_id, 299)
    path = z.path / z.format.metadata_name
    path.unlink()
    path.write_bytes(z.format.describe(meta))
    assert "it has 299 rows, its index 300" in {problem.what for problem in verify(store.path).problems}


def test_a_second_format_of_one_array_is_found(store):
    z = array_of(store)
    other = load_format(next(name for name in FORMAT_NAMES if name != z.format_name))
    folder = store.layout.array_dir(z.index_id, z.key, other.suffix)
    folder.mkdir()
    (folder / other.metadata_name).write_bytes(other.describe(z.meta))
    (problem,) = verify(store.path).problems
    assert problem.path.parent == folder


def test_a_damaged_part_without_a_receipt_is_in_the_way(store):
    z = array_of(store)
    z.receipt_path(1).unlink()
    assert {problem.kind for problem in verify(store.path).problems} == set()
    z.part_path(1).chmod(0o640)
    z.part_path(1).write_bytes(b"short")
    (problem,) = verify(store.path).problems
    assert (problem.kind, problem.path) == ("stray", z.part_path(1))


def test_numbers_that_are_not_finite_are_noted_and_are_no_damage(tmp_path):
    store, spec = FeatureStore.create(tmp_path / "store"), a_spec(tier="fp32")
    values = some_values(spec)
    values[130, 0] = np.nan
    fill(store, spec, some_frames(), values)
    verdict = verify(store.path, full=True)
    assert verdict.ok
    assert verdict.notes == (
        f"part 000001 of {spec.key} (index {store.arrays()[0].index_id}) holds 4 NaN and 0 infinite numbers, "
        "which training refuses",
    )


def test_a_snapshot_holds_the_store_to_its_word(store):
    seal(store.path)
    assert verify(store.path).ok
    z = array_of(store)
    z.receipt_path(1).unlink()
    (problem,) = verify(store.path).problems
    assert (problem.kind, problem.part, problem.what) == ("snapshot", 1, "snapshot 0001 names it and it is gone")
    z.part_path(1).unlink()
    extract(store, seed=1)
    (problem,) = verify(store.path).problems
    assert "with other bytes" in problem.what


def test_a_damaged_snapshot_is_found(store):
    seal(store.path)
    flip(store.layout.snapshots / "0001.json", 900)
    assert [problem.kind for problem in verify(store.path).problems] == ["snapshot"]


def test_without_a_known_command_the_text_says_so(tmp_path):
    store = FeatureStore.create(tmp_path / "store")
    extract(store, info={"command": "rm -rf \x1b[2J"})  # a command that could confuse a terminal is none
    array_of(store).part_path(0).unlink()
    verdict = verify(store.path)
    assert verdict.problems[0].remake is None
    assert "no receipt says with which options" in verdict.render()


def test_queries_are_named_by_their_frames(tmp_path):
    store = FeatureStore.create(tmp_path / "store")
    extract(store, a_spec(per="query"), some_queries(100))
    array_of(store).part_path(1).unlink()
    (problem,) = verify(store.path).problems
    assert problem.holds == "lab/cubes, main: episode 0 frames 64–99"


def test_what_is_no_store_is_an_error(tmp_path):
    for place in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(StoreError, match="no feature store"):
            verify(place)


def test_a_newer_store_is_refused_by_name(store):
    store.layout.schema_file.chmod(0o640)
    store.layout.schema_file.write_text('{"kind":"visual_thought feature store","needs":"9.1","schema":99}\n')
    with pytest.raises(StoreError, match=r"needs visual-thought >= 9\.1"):
        verify(store.path)


def test_a_store_may_be_reached_by_a_link(store, tmp_path):
    (tmp_path / "link").symlink_to(store.path)
    assert verify(tmp_path / "link", full=True).ok


def test_the_text_names_every_problem(store):
    z = array_of(store)
    for part in range(3):
        z.part_path(part).unlink()
    text = verify(store.path).render()
    for part in range(3):
        assert f"part 00000{part}, rows" in text
    assert text.count(COMMAND) == 2  # once for the array, once as what to do
