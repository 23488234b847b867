import hashlib
import os
import shutil

import pytest

from visual_thought.extract.backbones.weights import (
    file_sha256,
    find_file,
    find_tokenizer,
    tokenizer_sha256,
    weights_sha256,
)
from visual_thought.extract.backbones.xvla_spec import describe

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(xvla, tmp_path):
    """The tiny X-VLA as the Hub's cache holds it: snapshots of links to blobs named by hash."""
    folder = tmp_path / "hub" / "models--lab--tiny"
    snapshot, blobs = folder / "snapshots" / COMMIT, folder / "blobs"
    for path in (snapshot, blobs, folder / "refs"):
        path.mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    for path in xvla.iterdir():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copy(path, blobs / digest)
        (snapshot / path.name).symlink_to(f"../../blobs/{digest}")
    return tmp_path / "hub"


def test_a_hash_is_remembered_until_the_file_changes(tmp_path):
    path, cache = tmp_path / "weights", tmp_path / "cache"
    path.write_bytes(b"one")
    assert file_sha256(path, cache) == hashlib.sha256(b"one").hexdigest()
    (note,) = cache.iterdir()
    note.write_text("f" * 64)
    assert file_sha256(path, cache) == "f" * 64
    path.write_bytes(b"two")
    os.utime(path, ns=(0, 12345))
    assert file_sha256(path, cache) == hashlib.sha256(b"two").hexdigest()


def test_a_damaged_note_is_not_believed(tmp_path):
    path, cache = tmp_path / "weights", tmp_path / "cache"
    path.write_bytes(b"one")
    file_sha256(path, cache)
    next(cache.iterdir()).write_text("")
    assert file_sha256(path, cache) == hashlib.sha256(b"one").hexdigest()


def test_the_name_of_a_hub_blob_is_its_hash(tmp_path):
    blob = tmp_path / "blobs" / ("a" * 64)
    blob.parent.mkdir()
    blob.write_bytes(b"anything")
    (tmp_path / "model.safetensors").symlink_to(blob)
    assert file_sha256(tmp_path / "model.safetensors") == "a" * 64


def test_a_hub_checkpoint_in_the_cache_is_the_same_as_its_directory(xvla, hub, offline):
    assert find_file("lab/tiny", "config.json", hub_cache=hub).parent.name == COMMIT
    assert weights_sha256("lab/tiny", "model.safetensors", hub_cache=hub) == file_sha256(xvla / "model.safetensors")
    assert describe("lab/tiny", hub_cache=hub) == describe(str(xvla))


def test_a_tokenizer_config_is_hashed_without_the_paths_in_it(xvla, tmp_path, edit_json):
    copy = shutil.copytree(xvla, tmp_path / "copy")
    edit_json(copy / "tokenizer_config.json", lambda data: data.update(name_or_path="/some/where"))
    assert tokenizer_sha256(copy) == tokenizer_sha256(xvla)
    edit_json(copy / "tokenizer_config.json", lambda data: data.update(add_prefix_space=True))
    assert tokenizer_sha256(copy) != tokenizer_sha256(xvla)


def test_the_tokenizer_a_checkpoint_names_wins_over_the_one_beside_it(xvla, tmp_path):
    named = shutil.copytree(xvla, tmp_path / "named")
    assert find_tokenizer(str(named), str(xvla)) == named
    assert find_tokenizer(None, str(xvla)) == xvla
