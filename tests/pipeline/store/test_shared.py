"""A store that a group shares: who may write, who may read, and who is warned."""

import logging
import os
import stat

import pytest

from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.merge import merge
from visual_thought.pipeline.store.repair import repair
from visual_thought.pipeline.store.snapshot import seal

from .maintained import a_store, array_of, extract
from .toys import FORMAT_NAMES


@pytest.fixture(params=[0o000, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("store_format", FORMAT_NAMES)
def test_folders_are_the_groups_and_files_are_read_only(tmp_path, umask, store_format):
    store = a_store(tmp_path / "store", store_format)
    seal(store.path)
    array_of(store).part_path(1).unlink()
    repair(store.path)
    merge(tmp_path / "merged", [store.path])
    found = [path for place in (store.path, tmp_path / "merged") for path in (place, *place.rglob("*"))]
    assert {mode_of(path) for path in found if path.is_dir()} == {0o2770 & ~umask}
    assert {mode_of(path) for path in found if path.is_file()} == {0o440 & ~umask}
    assert (store.path / "quarantine").is_dir()


def test_a_folder_that_is_there_keeps_its_mode(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(0o755)
    store = FeatureStore.create(tmp_path / "store")
    extract(store)
    assert mode_of(store.path) == 0o755


@pytest.mark.parametrize(("mode", "warned"), [(0o777, True), (0o1777, True), (0o770, False), (0o775, False)])
@pytest.mark.parametrize("act", [FeatureStore.create, FeatureStore.open])
def test_a_store_that_everybody_may_write_to_is_warned_of(tmp_path, caplog, mode, warned, act):
    store = a_store(tmp_path / "store")
    store.path.chmod(mode)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        act(store.path)
        act(store.path)
    said = [record.getMessage() for record in caplog.records]
    text = f"{store.path} is writable for every user of this machine; close it with `chmod o-w {store.path}`"
    assert said == [text] * warned
