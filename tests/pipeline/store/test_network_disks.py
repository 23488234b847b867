"""What network file systems do: replies that are lost, names that are stale, listings that come late."""

import errno
import os
from dataclasses import replace

import pytest

from visual_thought.pipeline.errors import MachineError, StoreError
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.commit import commit_file
from visual_thought.pipeline.store.files import read_file
from visual_thought.pipeline.store.system import SYSTEM, rename_no_replace

from .toys import FORMAT_NAMES, a_spec, files_below, filled_store, read_all, some_frames, some_values

ROWS = 150


def stale_once(call):
    """The first call for every name says ESTALE and does nothing, the next ones are right."""
    seen = set()

    def first_stale(path, *rest, **options):
        if path not in seen:
            seen.add(path)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return call(path, *rest, **options)

    return first_stale


def lost(call, code):
    """Done, but the reply says something else."""

    def lost_reply(*arguments):
        call(*arguments)
        raise OSError(code, os.strerror(code))

    return lost_reply


def not_allowed(*_):
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


BY_RENAME = replace(SYSTEM, link=not_allowed)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EEXIST, errno.ENOENT])
@pytest.mark.parametrize("way", ["link", "rename_no_replace"])
def test_a_file_whose_reply_was_lost_is_there_once(tmp_path, way, code):
    calls = SYSTEM if way == "link" else BY_RENAME
    call = os.link if way == "link" else rename_no_replace
    calls = replace(calls, **{way: lost(call, code)}, unlink=lost(os.unlink, code))
    assert commit_file(tmp_path / "part", b"mine", calls=calls) == b"mine"
    assert commit_file(tmp_path / "part", b"other", calls=calls) == b"mine"
    assert [file.name for file in tmp_path.iterdir()] == ["part"]


def test_a_lost_reply_to_a_link_that_somebody_else_won_is_theirs(tmp_path):
    def slower(source, target):
        target.write_bytes(b"theirs")
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(MachineError):
        commit_file(tmp_path / "part", b"mine", calls=replace(SYSTEM, link=slower))
    assert commit_file(tmp_path / "part", b"mine") == b"theirs"
    assert [file.name for file in tmp_path.iterdir()] == ["part"]


def test_a_name_that_is_stale_once_is_looked_up_again(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.setattr(os, "open", stale_once(os.open))
    assert read_file(tmp_path, tmp_path / "file") == b"x"


def test_a_name_that_stays_stale_is_said(tmp_path, monkeypatch):
    def stale(*_, **__):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.setattr(os, "open", stale)
    with pytest.raises(StoreError, match="cannot be opened"):
        read_file(tmp_path, tmp_path / "file")


@pytest.mark.parametrize("store_format", FORMAT_NAMES)
@pytest.mark.parametrize("name", ["open", "listdir"])
def test_a_store_whose_every_name_is_stale_once_reads_and_fills_all_the_same(tmp_path, monkeypatch, store_format, name):
    filled_store(tmp_path / "expected", rows=ROWS, store_format=store_format)
    with monkeypatch.context() as patched:
        patched.setattr(os, name, stale_once(getattr(os, name)))
        store, values = filled_store(tmp_path / "store", rows=ROWS, store_format=store_format)
        assert read_all(store).tobytes() == values.tobytes()
    assert files_below(tmp_path / "store") == files_below(tmp_path / "expected")


@pytest.mark.parametrize("store_format", FORMAT_NAMES)
def test_a_listing_that_misses_new_names_makes_nothing_twice(tmp_path, monkeypatch, store_format):
    """A second writer does not see the first one's receipts, nor its array, and does the same work again."""
    store, values = filled_store(tmp_path / "store", rows=ROWS, store_format=store_format)
    before = files_below(store.path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "listdir", lambda folder: [])
        (plan,) = plan_array(FeatureStore.open(store.path), a_spec(), some_frames(ROWS), store_format=store_format)
        assert plan.missing == (0, 1)
        for part in plan.missing:
            rows = plan.part_range(part)
            commit_part(store, plan, part, some_values(a_spec(), ROWS, seed=1)[rows.start : rows.stop])
    assert files_below(store.path) == before
    assert read_all(store).tobytes() == values.tobytes()


def test_a_store_that_somebody_else_makes_at_the_same_moment_is_opened(tmp_path, monkeypatch):
    """The other writer is ahead by schema and more, between this one's two looks at the folder."""
    listdir, root = os.listdir, tmp_path / "store"
    root.mkdir()

    def late(folder):
        FeatureStore.open(filled_store(tmp_path / "other", rows=3)[0].path)
        if not listdir(root):
            os.rmdir(root)
            os.rename(tmp_path / "other", root)
        return listdir(folder)

    with monkeypatch.context() as patched:
        patched.setattr(os, "listdir", lambda folder: (patched.undo(), late(folder))[1])
        store = FeatureStore.create(root)
    assert len(store.arrays()) == 1
