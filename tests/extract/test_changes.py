"""What was extracted from changes under its name: the dataset, its tag, the weights."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from visual_thought.extract.plan import plan
from visual_thought.extract.run import extract
from visual_thought.pipeline.errors import ConfigError, StoreMismatch
from visual_thought.pipeline.store import FeatureStore

FIRST, SECOND = "1" * 40, "2" * 40


def put_on_the_hub(home: Path, commit: str, source: Path) -> None:
    """A commit in the Hub's cache as the Hub's client leaves it, links to blobs included; the tag v3.0 moves to it."""
    cached = home / "hub/datasets--lab--recorded"
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        link = cached / "snapshots" / commit / path.relative_to(source)
        blob = cached / "blobs" / f"{commit[0]}-{path.relative_to(source).as_posix().replace('/', '-')}"
        link.parent.mkdir(parents=True, exist_ok=True)
        blob.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, blob)
        link.symlink_to(Path("../" * (len(link.relative_to(cached).parts) - 1)) / "blobs" / blob.name)
    (cached / "refs").mkdir(exist_ok=True)
    (cached / "refs/v3.0").write_text(commit)


@pytest.mark.usefixtures("offline")
def test_a_moved_tag_moves_the_revision_and_only_what_changed_is_made_again(
    config, manifest, recorded, tmp_path, edit_json
):
    path = manifest(revision="v3.0", cameras=["main"], stride=30)
    edit_json(path, lambda data: data.update(root=None))
    asked = {"manifest": path, "lerobot_home": tmp_path}
    put_on_the_hub(tmp_path, FIRST, recorded)
    extract(config(**asked))
    moved = Path(shutil.copytree(recorded, tmp_path / "moved"))
    edit_json(moved / "meta/info.json", lambda info: info.update(robot_type="another"))
    put_on_the_hub(tmp_path, SECOND, moved)
    planned = plan(config(**asked))
    assert planned.dataset.source.revision == SECOND
    assert [feature.moved.num_rows for feature in planned.features] == [9, 9]
    assert extract(config(**asked)).frames == 0
    store = FeatureStore.open(config().store)
    assert set(store.index("r")["revision"].to_pylist()) == {FIRST}


def test_weights_changed_under_the_same_name_are_never_mixed_with_the_old(config, manifest, xvla_with, tmp_path):
    folder = xvla_with()
    asked = config(checkpoint=str(folder), manifest=manifest(episodes=[0], stride=30), hash_cache=tmp_path / "hashes")
    first = extract(asked)
    before = FeatureStore.open(asked.store).read("r", [0, 1, 2])
    weights = load_file(folder / "model.safetensors")
    name = "model.vlm.vision_tower.blocks.0.0.spatial_block.ffn.fc1.bias"
    weights[name] += 0.5
    save_file(weights, folder / "model.safetensors")
    planned = plan(asked)
    assert [feature.missing for feature in planned.features] == [1, 1]
    for feature in planned.features:
        (differences,) = feature.others.values()
        assert any("weights" in line for line in differences)
    expected = {feature.name: feature.fingerprint for feature in first.features}
    with pytest.raises(StoreMismatch, match="would not be computed as expected") as caught:
        extract(config(checkpoint=str(folder), manifest=asked.manifest, expect_fingerprint=expected))
    assert caught.value.exit_code == 4
    extract(asked)
    store = FeatureStore.open(asked.store)
    with pytest.raises(ConfigError, match="several features") as told:
        store.resolve("r")
    assert "weights" in str(told.value)
    assert torch.equal(store.read(first.features[1].key, [0, 1, 2]), before)
    with pytest.raises(StoreMismatch):
        store.resolve("r", fingerprint="0" * 64)
