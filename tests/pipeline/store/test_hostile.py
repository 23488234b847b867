"""A corpus of hostile stores: each is refused by name, reads nothing outside of itself, and takes little memory."""

import json
import shutil

import pytest

from visual_thought.pipeline.errors import ConfigError
from visual_thought.pipeline.store import FeatureStore

from . import hostile_json, hostile_parts  # noqa: F401 - they list their cases
from .hostile import CASES, Hostile, honest
from .servers import run
from .toys import FORMAT_NAMES, files_below, filled_store, read_all

NOT_MUCH = 400 << 20
REFUSING = ("read", "frames", "listing", "verify", "write")
NO_DAMAGE = ("claim",)  # no reader needs it: a strange one is found by verify or stops a writer, if there is one


def own(name, store_format):
    """Whether a case is about this format."""
    return not name.startswith({"zarr": "h5_", "hdf5": ("shard_", "document_")}[store_format])


@pytest.fixture(scope="module", params=FORMAT_NAMES)
def ends(request, tmp_path_factory):
    """How every way into every store ended."""
    root = tmp_path_factory.mktemp("hostile")
    honest(root / "honest", request.param)
    (root / "stores").mkdir()
    for name, change in CASES.items():
        if own(name, request.param):
            shutil.copytree(root / "honest", root / "stores" / name, copy_function=shutil.copy)
            change(Hostile(root / "stores" / name, root / "outside"))
    before = files_below(root / "outside")
    found = json.loads(run("hostile_doors.py", root / "stores", timeout=110))
    assert files_below(root / "outside") == before
    return found


def test_there_are_hundreds_of_them(ends):
    assert len(ends) > 150


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
