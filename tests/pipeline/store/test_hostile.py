"""A corpus of hostile stores: each is refused by name, reads nothing outside of itself, and takes little memory."""

import json
import os
import shutil

import pytest

from visual_thought.pipeline.errors import ConfigError
from visual_thought.pipeline.store import FeatureStore

from . import hostile_json, hostile_parts  # noqa: F401 - they list their cases
from .hostile import CASES, Hostile, honest
from .processes import run
from .toys import files_below, filled_store, read_all

NOT_MUCH = 400 << 20
REFUSING = ("read", "frames", "listing", "verify", "write")


def own(name, store_format):
    """Whether a case is about this format; what is the same in every format is tried with one."""
    same = ("schema_", "receipt_", "index_", "frames_table_", "scale_")
    places = ("_as_schema", "_as_index", "_as_claim", "_as_receipt", "_as_frames")
    if store_format == "zarr":
        return not name.startswith("h5_")
    return not name.startswith(("shard_", "document_", *same)) and not name.endswith(places)


def never_read(folder):
    """Set back when every file was last read, in the only way that file systems that save on this will note."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (0, 1))


def read_since(folder):
    return [path.name for path in folder.rglob("*") if path.is_file() and path.stat().st_atime > 0]


A_FIFTH, ALL, ALL_HDF5 = ("zarr", 5), ("zarr", 1), ("hdf5", 1)
EVERY = [A_FIFTH, pytest.param(ALL, marks=pytest.mark.slow), pytest.param(ALL_HDF5, marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=EVERY, ids=["zarr, every fifth", "zarr", "hdf5"])
def tried(request, tmp_path_factory):
    """How every way into the stores ended; how many stand for one that was tried."""
    root, (store_format, share) = tmp_path_factory.mktemp("hostile"), request.param
    honest(root / "honest", store_format)
    (root / "stores").mkdir()
    for number, (name, change) in enumerate(CASES.items()):
        if number % share == 0 and own(name, store_format):
            shutil.copytree(root / "honest", root / "stores" / name, copy_function=shutil.copy)
            change(Hostile(root / "stores" / name, root / "outside"))
    before = files_below(root / "outside")
    never_read(root / "outside")
    found = json.loads(run("hostile_doors.py", root / "stores", timeout=110))
    read = read_since(root / "outside")
    same = files_below(root / "outside") == before
    return found | {"": {"share": share, "read outside": read, "same": same}}


@pytest.fixture(scope="module")
def ends(tried):
    return {name: said for name, said in tried.items() if name}


def test_there_are_hundreds_of_them(tried, ends):
    assert len(ends) * tried[""]["share"] > 100


def test_nothing_outside_is_read_or_written(tried):
    assert (tried[""]["read outside"], tried[""]["same"]) == ([], True)


def test_the_test_would_see_that_something_was_read(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    never_read(tmp_path)
    assert read_since(tmp_path) == []
    (tmp_path / "file").read_bytes()
    if not read_since(tmp_path):
        pytest.skip("this file system does not note when a file is read")


def test_every_way_in_ends_well_or_with_an_error_of_ours(ends):
    bugs = {
        name: {door: end for door, end in said.items() if str(end).startswith("bug")} for name, said in ends.items()
    }
    assert {name: said for name, said in bugs.items() if said} == {}


def test_none_of_them_leads_to_wrong_numbers(ends):
    assert [name for name, said in ends.items() if "wrong numbers" in said.values()] == []


def test_every_one_of_them_is_refused(ends):
    accepted = [name for name, said in ends.items() if all(said.get(door) in (None, "fine") for door in REFUSING)]
    assert accepted == []


def test_none_of_them_takes_much_memory(ends):
    assert {name: said["bytes"] for name, said in ends.items() if said["bytes"] > NOT_MUCH} == {}


@pytest.mark.parametrize("name", ["../z", "/etc/passwd", "z/../z", "..", "", "z\0", "z-../../../", "z" * 10**5])
def test_a_feature_s_name_never_becomes_a_path(tmp_path, name):
    store, _ = filled_store(tmp_path / "store", rows=3)
    with pytest.raises(ConfigError):
        store.read(name, [0])


@pytest.mark.parametrize("index_id", ["../../../../etc", "/etc/passwd", "..", "", "0" * 17, "\0" * 16])
def test_an_index_s_id_never_becomes_a_path(tmp_path, index_id):
    store, _ = filled_store(tmp_path / "store", rows=3)
    with pytest.raises(ConfigError):
        store.index_table(index_id)


def test_the_root_itself_may_be_a_link(tmp_path):
    """It is the user's own, and not part of what somebody sent."""
    _, values = filled_store(tmp_path / "store", rows=3)
    (tmp_path / "link").symlink_to("store")
    assert read_all(FeatureStore.create(tmp_path / "link")).tobytes() == values.tobytes()
