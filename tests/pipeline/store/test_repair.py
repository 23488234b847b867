import os
import random
import shutil

import pytest

from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.compare import differences_of
from visual_thought.pipeline.store.repair import repair
from visual_thought.pipeline.store.snapshot import seal
from visual_thought.pipeline.store.verify import verify

from .lanes import FORMATS_IN_TURN
from .maintained import COMMAND, DEEP_HARMS, HARMS, a_store, array_of, extract
from .toys import FORMAT_NAMES, a_spec, files_below, flip, overwrite, read_all, some_values

EVERY = {name: act for name, (_, act) in HARMS.items()} | DEEP_HARMS


@pytest.fixture(params=FORMAT_NAMES)
def store_format(request):
    return request.param


@pytest.fixture
def store(tmp_path, store_format):
    return a_store(tmp_path / "store", store_format)


@pytest.mark.parametrize("harm", EVERY)
@pytest.mark.parametrize("store_format", FORMATS_IN_TURN)
def test_after_a_repair_nothing_is_wrong_and_extraction_refills(store, tmp_path, store_format, harm):
    whole = a_store(tmp_path / "whole", store_format)
    EVERY[harm](store, array_of(store))
    done = repair(store.path)
    assert done.problems
    assert (done.left, done.ok) == ((), True)
    assert verify(store.path, full=True).ok
    store = FeatureStore.open(store.path)
    made = extract(store, store_format=store_format)
    damaged = {problem.part for problem in done.problems if problem.kind in ("part", "receipt", "frames")}
    assert set(made) == damaged
    extract(store, a_spec("e", tier="fp32", shape=(5,)), parts=[0, 2], store_format=store_format)
    assert differences_of(store.path, whole.path) == []
    assert read_all(store).tobytes() == some_values(a_spec()).tobytes()
    assert verify(store.path, full=True).ok
    assert repair(store.path).moves == ()


@pytest.mark.parametrize("harm", EVERY)
@pytest.mark.parametrize("store_format", FORMATS_IN_TURN)
def test_a_dry_run_says_what_a_repair_does_and_changes_nothing(store, harm):
    EVERY[harm](store, array_of(store))
    before = files_below(store.path)
    dry = repair(store.path, dry_run=True)
    assert not dry.ok
    assert files_below(store.path) == before
    assert [(move.source, move.target) for move in dry.moves] == [
        (move.source, move.target) for move in repair(store.path).moves
    ]


def test_the_receipt_leaves_first_and_nothing_is_deleted(store):
    z = array_of(store)
    for name in DEEP_HARMS:
        DEEP_HARMS[name](store, z)
    before = set(files_below(store.path).values())
    done = repair(store.path)
    assert [move.source.name for move in done.moves] == ["000001.json", z.part_path(1).name, "000001.parquet"]
    assert before <= set(files_below(store.path).values())
    assert {move.target.parent for move in done.moves} == {store.path / "quarantine" / z.index_id / z.key}
    assert done.remake == (COMMAND,)


def test_a_second_repair_of_the_same_part_keeps_the_first_ones_files(store, store_format):
    z = array_of(store)
    for seed in range(2):
        flip(z.part_path(1), 8 * 3000 + seed)
        repair(store.path)
        extract(store, store_format=store_format)
    names = sorted(path.name for path in (store.path / "quarantine" / z.index_id / z.key).iterdir())
    assert names == sorted(
        name + end for name in ("000001.json", "000001.parquet", z.part_path(1).name) for end in ("", ".1")
    )


def test_a_quick_repair_reads_no_bytes(store):
    DEEP_HARMS["bits flipped"](store, array_of(store))
    assert repair(store.path, full=False).moves == ()
    assert len(repair(store.path).moves) == 3


def test_a_snapshot_of_a_damaged_part_leaves_and_its_number_is_not_given_again(store, store_format):
    assert seal(store.path).number == 1
    array_of(store).part_path(1).unlink()
    repair(store.path)
    assert verify(store.path).ok
    extract(store, store_format=store_format)
    assert seal(store.path).number == 2


def test_metadata_that_was_taken_out_is_said_to_be_waited_for(store):
    z = array_of(store)
    HARMS["metadata missing"][1](store, z)
    repair(store.path)
    verdict = verify(store.path)
    assert verdict.ok
    assert verdict.notes == (f"{z.key} (index {z.index_id}) has 3 parts and waits for its metadata: run {COMMAND}",)
    z.part_path(1).unlink()  # its parts are looked after all the same
    assert [problem.kind for problem in verify(store.path).problems] == ["part"]


def test_files_behind_a_link_stay_where_they_are(store, tmp_path):
    z = array_of(store)
    z.path.rename(tmp_path / "elsewhere")
    z.path.symlink_to(tmp_path / "elsewhere")
    before = files_below(tmp_path / "elsewhere")
    assert repair(store.path).ok
    assert files_below(tmp_path / "elsewhere") == before
    assert not z.path.is_symlink()


def test_a_whole_store_needs_no_repair(store):
    before = files_below(store.path)
    done = repair(store.path)
    assert (done.moves, done.ok) == ((), True)
    assert "nothing to repair" in done.render()
    assert files_below(store.path) == before


def harm_at_random(root, chance):
    """One random thing to one random file of a store; snapshots stay, for nothing knows of a lost one."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.parent.name != "snapshots")
    path, how = chance.choice(files), chance.choice(["flip", "cut", "grow", "remove", "swap", "folder", "link", "fifo"])
    size = path.stat().st_size
    if how == "flip":
        flip(path, chance.randrange(8 * size))
    elif how == "cut":
        overwrite(path, path.read_bytes()[: chance.randrange(size)])
    elif how == "grow":
        overwrite(path, path.read_bytes() + chance.randbytes(9))
    elif how == "swap":
        overwrite(path, chance.choice(files).read_bytes())
    else:
        path.unlink()
        {"remove": lambda: None, "folder": path.mkdir, "fifo": lambda: os.mkfifo(path)}.get(
            how, lambda: path.symlink_to("/etc/hostname")
        )()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_to_files_a_repair_and_an_extraction_make_it_whole(store, tmp_path, store_format, seed):
    seal(store.path)
    shutil.copytree(store.path, tmp_path / "whole")
    chance = random.Random(seed)
    for _ in range(chance.choice([1, 2, 5])):
        harm_at_random(store.path, chance)
    assert repair(store.path).left == ()
    assert verify(store.path, full=True).ok
    store = FeatureStore.open(store.path)
    extract(store, store_format=store_format)
    extract(store, a_spec("e", tier="fp32", shape=(5,)), parts=[0, 2], store_format=store_format)
    assert verify(store.path, full=True).ok
    assert differences_of(store.path, tmp_path / "whole") == []
    assert read_all(store).tobytes() == some_values(a_spec()).tobytes()
