from dataclasses import replace
from pathlib import Path

import pytest

from visual_thought.pipeline.errors import ManifestError
from visual_thought.pipeline.manifest import (
    DatasetManifest,
    ListedSplits,
    SeededSplits,
    assign_splits,
    dump_manifest,
    load_manifest,
    shipped_manifests,
)

TEXT = """
repo_id: lab/cubes
cameras: [main]
splits: {train: [0, 1], val: [2], test: [3]}
licence: CC-BY-4.0
simulated: false
root: data
labels: ../labels.parquet
"""


def manifest(**changes) -> DatasetManifest:
    plain = DatasetManifest(
        name="m",
        repo_id="lab/cubes",
        cameras=("main",),
        splits=SeededSplits(seed=0, val=0.2, test=0.2),
        licence="",
        simulated=False,
    )
    return replace(plain, **changes)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cubes.yaml"
    path.write_text(text)
    return path


def test_a_manifest_is_named_by_its_file_and_its_paths_start_there(tmp_path):
    found = load_manifest(write(tmp_path, TEXT))
    assert found.name == "cubes"
    assert found.root == tmp_path / "data"
    assert found.labels == tmp_path / "../labels.parquet"
    assert found.splits == ListedSplits(train=(0, 1), val=(2,), test=(3,))
    assert (found.stride, found.episodes, found.revision) == (1, None, None)


@pytest.mark.parametrize("name", shipped_manifests())
def test_every_shipped_manifest_loads_and_explains_every_field(name):
    found = load_manifest(name)
    assert found.name == name
    assert sum(map(len, assign_splits(found, range(40)).values())) == 40
    lines = (Path(__file__).parents[2] / "data_manifests" / f"{name}.yaml").read_text().splitlines()
    for number, line in enumerate(lines):
        if line and not line.startswith(("#", " ")):
            assert lines[number - 1].startswith("#"), f"{line} has no comment"


def test_the_embedded_set_is_split_28_4_8_and_says_that_it_is_simulated():
    found = load_manifest("tabletop_cubes")
    assert found.simulated
    assert [len(part) for part in assign_splits(found, range(40)).values()] == [28, 4, 8]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("camera: [top]", "did you mean `cameras`"),
        ("name: other", "a manifest is named by its file"),
        ("stride: 0", "`stride`"),
        ("stride: two", "`stride`"),
        ("episodes: []", "`episodes`"),
        ("episodes: [1, 1]", "`episodes`"),
        ("episodes: [-1]", "`episodes`"),
        ("repo_id: cubes", "repo_id"),
    ],
)
def test_a_key_that_cannot_be_meant_is_a_manifest_error(tmp_path, change, said):
    lines = [line for line in TEXT.splitlines() if line.split(":")[0] != change.split(":")[0]]
    with pytest.raises(ManifestError, match=said):
        load_manifest(write(tmp_path, "\n".join([*lines, change])))


def test_a_missing_key_is_named(tmp_path):
    with pytest.raises(ManifestError, match="`licence` is missing"):
        load_manifest(write(tmp_path, TEXT.replace("licence: CC-BY-4.0\n", "")))


def test_an_unknown_name_lists_the_shipped_ones_and_suggests_the_nearest():
    with pytest.raises(ManifestError, match="did you mean tabletop_cubes"):
        load_manifest("tabeltop_cubes")


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(ManifestError, match=r"absent\.yaml"):
        load_manifest(tmp_path / "absent.yaml")


def test_a_dumped_manifest_loads_back_equal_with_relative_paths(tmp_path):
    original = manifest(root=tmp_path / "data", labels=tmp_path / "labels.parquet", episodes=(1, 2), stride=2)
    dump_manifest(original, tmp_path / "m.yaml")
    assert load_manifest(tmp_path / "m.yaml") == original
    text = (tmp_path / "m.yaml").read_text()
    assert "root: data\n" in text
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "m.yaml").write_text(text)
    assert load_manifest(moved / "m.yaml").root == moved / "data"


def test_a_dumped_manifest_keeps_paths_outside_its_folder_absolute(tmp_path):
    (tmp_path / "a").mkdir()
    original = manifest(root=tmp_path / "data", splits=ListedSplits((0,), (1,), (2,)))
    dump_manifest(original, tmp_path / "a" / "m.yaml")
    assert load_manifest(tmp_path / "a" / "m.yaml") == original


def test_a_manifest_is_only_dumped_under_its_own_name(tmp_path):
    with pytest.raises(ManifestError, match="named by its file"):
        dump_manifest(manifest(), tmp_path / "other.yaml")


@pytest.mark.parametrize("lists", [((0, 1), (1,), (2,)), ((0, 0), (1,), (2,)), ((0,), (1,), (0,))])
def test_an_episode_in_two_splits_is_refused(lists):
    with pytest.raises(ManifestError, match="in two splits"):
        ListedSplits(*lists)


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (-0.1, 0.1), (1.0, 0.0), (float("nan"), 0.1)])
def test_shares_that_leave_nothing_to_train_on_are_refused(val, test):
    with pytest.raises(ManifestError, match="shares"):
        SeededSplits(0, val, test)


def test_a_listed_episode_that_is_not_there_is_named():
    listed = manifest(splits=ListedSplits((0, 1), (2,), (7,)))
    with pytest.raises(ManifestError, match="`test`") as caught:
        assign_splits(listed, range(5))
    assert caught.value.found == [7]
    assert caught.value.expected == "among 0-4"


def test_episodes_that_the_dataset_has_not_are_named():
    with pytest.raises(ManifestError, match="`episodes`"):
        assign_splits(manifest(episodes=(1, 9)), range(5))


def test_seeded_splits_are_disjoint_whole_and_repeatable():
    splits = assign_splits(manifest(), range(50))
    assert sorted(sum(splits.values(), ())) == list(range(50))
    assert [len(splits[name]) for name in ("train", "val", "test")] == [30, 10, 10]
    assert splits == assign_splits(manifest(), range(49, -1, -1))
    assert splits != assign_splits(manifest(splits=SeededSplits(1, 0.2, 0.2)), range(50))


def test_seeded_splits_divide_only_the_episodes_of_the_manifest():
    splits = assign_splits(manifest(episodes=(3, 5, 7, 9, 11)), range(50))
    assert sorted(sum(splits.values(), ())) == [3, 5, 7, 9, 11]


def test_a_small_share_still_gets_one_episode():
    splits = assign_splits(manifest(splits=SeededSplits(0, 0.01, 0.01)), range(3))
    assert [len(splits[name]) for name in ("train", "val", "test")] == [1, 1, 1]


def test_an_empty_split_is_named():
    with pytest.raises(ManifestError, match="`train` is empty"):
        assign_splits(manifest(), range(2))
    with pytest.raises(ManifestError, match="`train` is empty"):
        assign_splits(manifest(splits=ListedSplits((), (0,), (1,))), range(2))


def test_a_split_that_the_manifest_leaves_out_is_empty():
    assert assign_splits(manifest(splits=ListedSplits((0,), (), ())), range(2))["val"] == ()
    assert assign_splits(manifest(splits=SeededSplits(0, 0.0, 0.5)), range(2))["val"] == ()
