import os
from dataclasses import replace

import pytest

from visual_thought.pipeline.errors import StoreError
from visual_thought.pipeline.store import commit_part, plan_array, writer
from visual_thought.pipeline.store.collect import collect
from visual_thought.pipeline.store.repair import repair
from visual_thought.pipeline.store.snapshot import seal
from visual_thought.pipeline.store.system import SYSTEM
from visual_thought.pipeline.store.verify import verify

from .lanes import FORMATS_IN_TURN
from .maintained import a_store, array_of, extract, frames_of
from .toys import a_spec, files_below, flip, read_all, some_frames, some_values

DAY_S = 86400


@pytest.fixture(params=FORMATS_IN_TURN)
def store_format(request):
    return request.param


@pytest.fixture
def store(tmp_path, store_format):
    return a_store(tmp_path / "store", store_format)


@pytest.fixture
def orphan(store):
    """Part 1 of z without its receipt, its writer dead."""
    z = array_of(store)
    z.receipt_path(1).unlink()
    return z


def grow_old(path, seconds=2 * DAY_S):
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def litter(store):
    """A temporary file in every folder of a store."""
    z, layout = array_of(store), store.layout
    folders = [layout.indexes, z.path.parent, z.path, z.receipt_path(0).parent, store.path]
    files = [folder / ".part.0123456789abcdef.tmp" for folder in folders]
    for file in files:
        file.write_bytes(b"half a")
    return files


def commit_again(store):
    """A writer that makes the missing part of z."""
    (plan,) = plan_array(store, a_spec(), some_frames())
    rows = plan.part_range(1)
    values = some_values(a_spec())[rows.start : rows.stop]
    return commit_part(store, plan, 1, values, frames=frames_of(rows))


def test_a_store_in_order_loses_nothing(store):
    before = files_below(store.path)
    assert collect(store.path, min_age_s=0).removed == ()
    assert files_below(store.path) == before


def test_old_temporary_files_go_and_young_ones_stay(store):
    before, files = files_below(store.path), litter(store)
    for file in files[1:]:
        grow_old(file)
    done = collect(store.path)
    assert (sorted(done.removed), done.bytes, done.young) == (sorted(files[1:]), 6 * 4, 1)
    files[0].unlink()
    assert files_below(store.path) == before


def test_other_peoples_hidden_files_at_the_root_stay(store):
    (store.path / ".gitattributes").write_bytes(b"*.h5 filter=lfs")
    assert collect(store.path, min_age_s=0).removed == ()


def test_a_dry_run_removes_nothing(store):
    files = litter(store)
    before = files_below(store.path)
    assert sorted(collect(store.path, min_age_s=0, dry_run=True).removed) == sorted(files)
    assert files_below(store.path) == before


def test_a_part_without_a_receipt_goes_when_it_is_old(store, orphan):
    frames = store.layout.frames_file(orphan.index_id, orphan.key, 1)
    assert collect(store.path).young == 2
    for file in (frames, orphan.part_path(1)):
        grow_old(file)
    assert set(collect(store.path).removed) == {frames, orphan.part_path(1)}
    assert verify(store.path, full=True).ok
    assert extract(store) == [1]


def test_age_is_told_by_the_file_systems_clock_alone(store, monkeypatch):
    file = litter(store)[0]
    monkeypatch.setattr("time.time", lambda: 1e11)  # this machine's clock runs 3,000 years ahead
    assert file not in collect(store.path).removed
    monkeypatch.setattr("time.time", lambda: 0.0)
    grow_old(file)
    assert file in collect(store.path).removed


def test_a_file_from_the_future_is_young(store):
    file = litter(store)[0]
    grow_old(file, -3 * DAY_S)
    assert file not in collect(store.path, min_age_s=0).removed


def test_what_a_snapshot_names_stays(store):
    seal(store.path)
    z = array_of(store)
    z.receipt_path(1).unlink()
    before = files_below(store.path)
    assert collect(store.path, min_age_s=0).removed == ()
    assert files_below(store.path) == before


def test_a_snapshot_that_cannot_be_read_keeps_every_part(store, orphan):
    seal(store.path)
    flip(store.layout.snapshots / "0001.json", 700)
    done = collect(store.path, min_age_s=0)
    assert done.removed == ()
    assert "2 files without a receipt kept" in (done.kept or "")


def test_a_damaged_receipt_still_names_its_part(store):
    flip(array_of(store).receipt_path(1), 300)
    assert collect(store.path, min_age_s=0).removed == ()


def test_quarantine_goes_only_when_asked(store):
    array_of(store).part_path(1).unlink()
    moved = {move.target for move in repair(store.path).moves}
    assert collect(store.path, min_age_s=0).removed == ()
    assert set(collect(store.path, min_age_s=0, quarantine=True).removed) == moved
    assert verify(store.path).ok


def test_a_part_that_gets_its_receipt_before_it_is_taken_stays(store, orphan):
    calls = replace(SYSTEM, rename=_before(SYSTEM.rename, lambda: commit_again(store)))
    assert orphan.part_path(1) not in collect(store.path, min_age_s=0, calls=calls).removed
    assert verify(store.path, full=True).ok
    assert read_all(store).tobytes() == some_values(a_spec()).tobytes()


def test_a_part_that_gets_its_receipt_while_it_is_away_is_there_afterwards(store, orphan):
    calls = replace(SYSTEM, rename=_after(SYSTEM.rename, lambda: commit_again(store)))
    collect(store.path, min_age_s=0, calls=calls)
    assert verify(store.path, full=True).ok
    assert read_all(store).tobytes() == some_values(a_spec()).tobytes()


def test_a_part_collected_before_its_receipt_is_written_is_committed_again(store, orphan, monkeypatch):
    """The writer has adopted the files that were there; then the collector comes; then the receipt is written."""
    removed = []
    monkeypatch.setattr(
        writer,
        "write_receipt",
        _before(writer.write_receipt, lambda: removed.extend(collect(store.path, min_age_s=0).removed)),
    )
    commit_again(store)
    assert len(removed) == 2
    assert verify(store.path, full=True).ok
    assert read_all(store).tobytes() == some_values(a_spec()).tobytes()


def test_the_writers_last_look_comes_before_the_collectors(store, orphan, monkeypatch):
    """The collector has set the part aside, the writer puts it back, the collector finds the name taken."""
    seen = []

    def link(source, target):
        seen.append(target.exists())
        SYSTEM.link(source, target)

    calls = replace(SYSTEM, rename=_after(SYSTEM.rename, lambda: commit_again(store)), link=link)
    collect(store.path, min_age_s=0, calls=calls)
    assert seen
    assert all(seen)
    assert verify(store.path, full=True).ok


@pytest.mark.parametrize("finish", [collect, repair])
def test_a_collector_that_dies_with_a_named_part_in_hand_is_finished(store, orphan, finish):
    class Died(Exception):
        pass

    def die(*_):
        commit_again_from_memory()
        raise Died

    def commit_again_from_memory():
        aside = next(orphan.path.glob(".*.gc"))
        aside.rename(orphan.part_path(1))
        commit_again(store)
        orphan.part_path(1).rename(aside)

    with pytest.raises(Died):
        collect(store.path, min_age_s=0, calls=replace(SYSTEM, rename=_after(SYSTEM.rename, die)))
    assert not verify(store.path).ok
    finish(store.path)
    assert verify(store.path, full=True).ok
    assert not list(orphan.path.glob(".*"))


def test_no_hard_links_are_needed_to_put_a_part_back(store, orphan):
    def no_link(source, target):
        raise OSError(95, "Operation not supported")

    calls = replace(SYSTEM, link=no_link, rename=_after(SYSTEM.rename, lambda: _receipt_only(store, orphan)))
    collect(store.path, min_age_s=0, calls=calls)
    assert verify(store.path, full=True).ok


def _receipt_only(store, orphan):
    """A writer whose receipt appears while the part is away, and that dies before its last look."""
    if not orphan.receipt_path(1).exists():
        aside = next(orphan.path.glob(".*.gc"), None)
        if aside is not None:
            aside.rename(orphan.part_path(1))
            commit_again(store)
            orphan.part_path(1).rename(aside)


def _before(call, act):
    def wrapped(*arguments, **named):
        act()
        return call(*arguments, **named)

    return wrapped


def _after(call, act):
    def wrapped(*arguments):
        done = call(*arguments)
        act()
        return done

    return wrapped


def test_what_is_no_store_is_refused(tmp_path):
    (tmp_path / ".x.tmp").write_bytes(b"mine")
    with pytest.raises(StoreError, match="no feature store"):
        collect(tmp_path, min_age_s=0)
    assert (tmp_path / ".x.tmp").exists()
