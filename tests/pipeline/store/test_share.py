"""Pushing and pulling whole parts, the selection of them, and the card."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import yaml

from visual_thought.pipeline.cli import run
from visual_thought.pipeline.errors import ConfigError, StoreCorrupt, StoreError, StoreIncomplete, StoreMismatch
from visual_thought.pipeline.manifest import DatasetManifest, SeededSplits
from visual_thought.pipeline.place import StoreUrl
from visual_thought.pipeline.store import FRAMES_SCHEMA, FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.receipt import read_receipt
from visual_thought.pipeline.store.selection import Selection, parse_episodes, select
from visual_thought.pipeline.store.share import fetch_all, pull, push

from .toys import (
    FORMAT_NAMES,
    a_spec,
    files_below,
    fill,
    filled_store,
    flip,
    overwrite,
    read_all,
    some_frames,
    some_values,
)

MANIFEST = DatasetManifest(
    "cubes", "lab/cubes", ("main",), SeededSplits(seed=0, val=0.1, test=0.1), licence="Apache-2.0", simulated=True
)


@pytest.fixture
def url(tmp_path):
    """A remote place that is a folder, and its local copy elsewhere."""
    return StoreUrl(f"file://{tmp_path}/shared", tmp_path / "cache")


def two_cameras(count=300):
    """Rows of two cameras: an index orders them by episode, then camera, then frame."""
    frames = some_frames(count)
    top = frames.set_column(4, "camera", pa.array(["top"] * count))
    return pa.concat_tables([frames, top])


def receipts_of(path):
    store = FeatureStore.open(path)
    return {
        (array.index_id, array.key, part): read_receipt(store.path, array.receipt_path(part))
        for array in store.arrays()
        for part in array.finished_parts()
    }


def with_frames(store, spec, table, values):
    (plan,) = plan_array(store, spec, table)
    for part in plan.missing:
        rows = plan.part_range(part)
        frames = pa.table([[0.1] * len(rows), ["ab" * 32] * len(rows)], schema=FRAMES_SCHEMA)
        commit_part(store, plan, part, values[rows.start : rows.stop], frames=frames)


@pytest.mark.parametrize("store_format", FORMAT_NAMES)
def test_a_store_pushed_and_pulled_is_the_same_store(tmp_path, url, store_format):
    store, _ = filled_store(tmp_path / "mine", store_format=store_format)
    push(store.path, url, Selection())
    pull(url, tmp_path / "theirs", Selection())
    assert files_below(tmp_path / "theirs") == files_below(store.path)


def test_tables_of_frames_move_with_their_receipts(tmp_path, url):
    store = FeatureStore.create(tmp_path / "mine")
    with_frames(store, a_spec(), some_frames(), some_values(a_spec()))
    push(store.path, url, Selection())
    pull(url, tmp_path / "theirs", Selection())
    assert FeatureStore.open(tmp_path / "theirs").frames("z").equals(store.frames("z"))
    assert FeatureStore.open(url).frames("z").equals(store.frames("z"))


def test_a_selection_takes_every_part_that_holds_a_selected_row(tmp_path, url):
    spec, other = a_spec("z"), a_spec("r")
    store = FeatureStore.create(tmp_path / "mine")
    for feature in (spec, other):
        fill(store, feature, two_cameras(), some_values(feature, 600))
    push(store.path, url, Selection())
    # rows of an index: main and top of episode 0, then of 1, then of 2, a hundred each
    done = pull(url, tmp_path / "theirs", Selection(("z",), ("top",), ((0, 0),)))
    (parcel,) = done.parcels
    assert (parcel.rows_selected, sorted(parcel.receipts), parcel.rows) == (100, [0, 1], 256)
    whole = receipts_of(store.path)
    assert receipts_of(tmp_path / "theirs") == {key: whole[key] for key in whole if key[1] == spec.key and key[2] < 2}
    assert "100 rows selected in 2 parts, 156 more rows because only whole parts move" in done.render()
    rows = np.arange(100, 200)
    assert (FeatureStore.open(tmp_path / "theirs").read("z", rows) == store.read("z", rows)).all()


def test_pulling_more_later_adds_what_is_missing_only(tmp_path, url):
    store, _ = filled_store(tmp_path / "mine")
    push(store.path, url, Selection())
    assert pull(url, tmp_path / "theirs", Selection(episodes=((0, 0),))).parts_copied == 1
    done = pull(url, tmp_path / "theirs", Selection())
    assert (done.parts_copied, done.parts_there) == (2, 1)
    assert files_below(tmp_path / "theirs") == files_below(store.path)


def test_only_finished_parts_move_and_the_others_are_counted(tmp_path, url):
    store, spec = FeatureStore.create(tmp_path / "mine"), a_spec()
    fill(store, spec, some_frames(), some_values(spec), parts=[0, 2])
    done = push(store.path, url, Selection())
    assert (done.parts_copied, done.parcels[0].parts_missing) == (2, 1)
    assert "1 parts are not finished" in done.render()
    assert FeatureStore.open(url).status("z").present == 172


def test_an_interrupted_push_goes_on_where_it_stopped(tmp_path, url):
    store, values = filled_store(tmp_path / "mine")
    array = store.arrays()[0]
    damaged = array.part_path(2)
    flip(damaged, 800)
    with pytest.raises(StoreCorrupt, match="not what its receipt says"):
        push(store.path, url, Selection())
    assert FeatureStore.open(url).status("z").present < 300
    flip(damaged, 800)
    push(store.path, url, Selection())
    assert (read_all(FeatureStore.open(url)) == values).all()


def test_a_part_without_receipt_at_the_target_gets_the_receipt_of_its_own_bytes(tmp_path, url):
    store, values = filled_store(tmp_path / "mine")
    theirs = FeatureStore.create(url)
    other = values.copy()
    other[3] ^= 1
    (plan,) = plan_array(theirs, a_spec(), some_frames())
    commit_part(theirs, plan, 0, other[:128])
    receipt = theirs.arrays()[0].receipt_path(0).relative_to(theirs.path)
    (tmp_path / "shared" / receipt).unlink()
    push(store.path, url, Selection())
    found = read_all(FeatureStore.open(url))
    assert (found[:128] == other[:128]).all()
    assert (found[128:] == values[128:]).all()


def test_parts_made_elsewhere_with_other_bytes_stay_and_are_counted(tmp_path, url):
    store, values = filled_store(tmp_path / "mine")
    theirs = FeatureStore.create(url)
    fill(theirs, a_spec(), some_frames(), some_values(a_spec(), seed=9), parts=[1])
    done = push(store.path, url, Selection())
    assert (done.parts_copied, done.parts_there, done.parts_kept) == (2, 1, 1)
    assert "1 of them made elsewhere with other bytes: kept" in done.render()
    assert (read_all(FeatureStore.open(url))[:128] == values[:128]).all()


def test_another_format_at_the_target_is_refused_before_a_part_moves(tmp_path, url):
    filled_store(tmp_path / "zarr")
    filled_store(tmp_path / "hdf5", store_format="hdf5")
    push(tmp_path / "zarr", url, Selection())
    before = files_below(tmp_path / "shared")
    with pytest.raises(StoreMismatch, match="in another way"):
        push(tmp_path / "hdf5", url, Selection())
    assert files_below(tmp_path / "shared") == before


def test_another_tier_at_the_target_is_refused(tmp_path, url):
    filled_store(tmp_path / "bf16")
    filled_store(tmp_path / "fp32", tier="fp32")
    push(tmp_path / "bf16", url, Selection())
    with pytest.raises(StoreMismatch, match=r"zarr\.json"):
        push(tmp_path / "fp32", url, Selection())


def test_a_place_that_holds_something_else_is_refused(tmp_path, url):
    filled_store(tmp_path / "mine")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match="not empty and no feature store"):
        push(tmp_path / "mine", url, Selection())
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["thesis.tex"]


def test_a_part_damaged_at_the_remote_place_never_arrives(tmp_path, url):
    store, _ = filled_store(tmp_path / "mine")
    push(store.path, url, Selection())
    name = store.arrays()[0].part_path(1).relative_to(store.path)
    overwrite(tmp_path / "shared" / name, b"\0" * (store.path / name).stat().st_size)
    with pytest.raises(StoreCorrupt, match="not what its receipt says"):
        pull(url, tmp_path / "theirs", Selection())
    assert not (tmp_path / "theirs" / name).exists()
    assert not (tmp_path / "theirs" / store.arrays()[0].receipt_path(1).relative_to(store.path)).exists()


def test_a_whole_remote_store_can_be_brought_here_and_what_cannot_come_is_named(tmp_path, url):
    store, _ = filled_store(tmp_path / "mine")
    push(store.path, url, Selection())
    first, second = (store.arrays()[0].part_path(part).relative_to(store.path) for part in (0, 1))
    flip(tmp_path / "shared" / first, 800)
    (tmp_path / "shared" / second).unlink()
    folder, problems = fetch_all(url)
    assert [type(problem) for problem in problems] == [StoreCorrupt, StoreIncomplete]
    assert [path.name for path in folder.rglob("c.*")] == ["c.2.0.0"]


def test_what_cannot_be_selected_is_named(tmp_path):
    store, _ = filled_store(tmp_path / "mine")
    for selection, said in [
        (Selection(features=("y",)), "no feature 'y'"),
        (Selection(cameras=("wrist",)), "no camera 'wrist'"),
        (Selection(episodes=((7, 9),)), "no row"),
    ]:
        with pytest.raises(ConfigError, match=said):
            select(store, selection)


def test_a_store_without_a_finished_part_has_nothing_to_move(tmp_path):
    store = FeatureStore.create(tmp_path / "mine")
    fill(store, a_spec(), some_frames(), some_values(a_spec()), parts=[])
    with pytest.raises(StoreIncomplete, match="no selected row"):
        select(store, Selection())


def test_episodes_are_indices_and_ranges():
    assert parse_episodes("0-9,12") == ((0, 9), (12, 12))
    for text in ("9-0", "a", "1,", "-1", "1-2-3", "99999999999"):
        with pytest.raises(ConfigError, match="episodes cannot be read"):
            parse_episodes(text)


def test_a_dry_run_writes_nothing_and_needs_no_network(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    store, _ = filled_store(tmp_path / "mine")
    assert run(["store", "push", str(store.path), "hf://datasets/lab/cubes", "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["files"] == 4 + 2 * 3
    assert said["bytes"] == sum(path.stat().st_size for path in store.path.rglob("c.*"))
    assert said["parts_copied"] is None
    assert "z-" in said["card"]
    assert run(["store", "push", str(store.path), "s3://bucket/x", "--episodes", "0-1", "--dry-run"]) == 0
    assert "nothing was copied (dry run)" in capsys.readouterr().out
    assert not (tmp_path / "cache").exists()


def test_bad_input_is_a_clear_error_and_nothing_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store, _ = filled_store(tmp_path / "mine")
    before = files_below(tmp_path)
    for arguments, code, said in [
        (["push", str(store.path), str(tmp_path / "folder")], 2, "push goes to a URL"),
        (["push", str(store.path), "ftp://host/x"], 2, "no ftp:// URL"),
        (["push", str(store.path), "hf://models/user/name"], 2, "no URL of the Hub"),
        (["push", str(tmp_path / "nothing"), "s3://bucket/x"], 3, "is no feature store"),
        (["push", str(store.path), "s3://bucket/x", "--features", "q"], 2, "no feature 'q'"),
        (["pull", str(store.path), str(tmp_path / "new")], 2, "pull goes from a URL"),
        (["pull", f"file://{tmp_path}/nothing", str(tmp_path / "new")], 3, "is no feature store"),
    ]:
        assert run(["store", *arguments]) == code
        assert said in capsys.readouterr().err
    assert files_below(tmp_path) == before


def card_of(store, tmp_path, manifest=MANIFEST, name="hf://datasets/lab/cubes-features"):
    done = push(store.path, StoreUrl(name, tmp_path / "cache"), Selection(), manifest=manifest, dry_run=True)
    header, text = done.card.removeprefix("---\n").split("\n---\n", 1)
    return yaml.safe_load(header), text


def test_the_card_says_what_made_the_features_and_that_they_are_simulated(tmp_path):
    store, _ = filled_store(tmp_path / "mine")
    header, text = card_of(store, tmp_path)
    spec = a_spec()
    assert header["license"] == "apache-2.0"
    assert "simulation" in header["tags"]
    for said in [
        spec.key,
        spec.fingerprint,
        "| 300 |",
        "SIMULATED",
        "`lab/cubes` at `r1`: 3 episodes",
        "0" * 64,
        "toy",
    ]:
        assert said in text
    assert 'FeatureStore.open("hf://datasets/lab/cubes-features")' in text


def test_the_card_of_a_real_robot_does_not_speak_of_simulation(tmp_path):
    store, _ = filled_store(tmp_path / "mine")
    header, text = card_of(store, tmp_path, replace(MANIFEST, simulated=False, licence="see `the` | card"))
    assert "SIMULATED" not in text
    assert header["license"] == "other"


def test_a_manifest_of_another_dataset_is_refused(tmp_path):
    store, _ = filled_store(tmp_path / "mine")
    with pytest.raises(ConfigError, match="of another dataset"):
        card_of(store, tmp_path, replace(MANIFEST, repo_id="lab/cloth"))


def test_without_a_manifest_the_card_states_no_licence(tmp_path):
    store, _ = filled_store(tmp_path / "mine")
    header, text = card_of(store, tmp_path, None)
    assert "license" not in header
    assert "Not stated" in text


def test_nothing_in_a_card_can_be_markup(tmp_path):
    spec = a_spec()
    spec = replace(spec, compute=dict(spec.compute) | {"backbone": "`\n# <script>alert(1)</script> |"})
    store = FeatureStore.create(tmp_path / "mine")
    table = some_frames(repo_id="lab/<b>`|x")
    fill(store, spec, table, some_values(spec))
    _, text = card_of(store, tmp_path, None)
    outside = "".join(text.split("`")[::2])
    assert "<script>" not in outside
    assert "<b>" not in outside
    assert "\n# <" not in text
