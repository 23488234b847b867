import os
import re

import pytest

from visual_thought.pipeline.errors import ConfigError, StoreCorrupt, StoreError, StoreIncomplete
from visual_thought.pipeline.store.files import entries, open_file, read_file
from visual_thought.pipeline.store.layout import Layout, part_count, part_name, part_range

from .toys import filled_store, read_all

INDEX, KEY = "0123456789abcdef", "z-1a2b3c4d"


def test_paths_are_as_documented(tmp_path):
    layout = Layout(tmp_path)
    assert layout.schema_file == tmp_path / "vtt.json"
    assert layout.index_file(INDEX) == tmp_path / "indexes" / f"{INDEX}.parquet"
    assert layout.array_dir(INDEX, KEY, ".zarr") == tmp_path / "arrays" / INDEX / f"{KEY}.zarr"
    assert layout.receipt_file(INDEX, KEY, 7) == tmp_path / "receipts" / INDEX / KEY / "000007.json"
    assert layout.frames_file(INDEX, KEY, 7) == tmp_path / "receipts" / INDEX / KEY / "000007.parquet"


@pytest.mark.parametrize(
    "name", ["../z-1a2b3c4d", "z-1a2b3c4d/..", "/z-1a2b3c4d", "Z-1a2b3c4d", "z", "", "z-1a2b3c4d\n"]
)
def test_no_other_name_becomes_part_of_a_path(tmp_path, name):
    layout = Layout(tmp_path)
    with pytest.raises(ConfigError, match="feature key"):
        layout.array_dir(INDEX, name, ".zarr")
    with pytest.raises(ConfigError, match="index id"):
        layout.index_file(name)


def test_parts_cover_every_row_once():
    for rows in (1, 127, 128, 129, 300):
        parts = [part_range(part, rows, 128) for part in range(part_count(rows, 128))]
        assert [row for part in parts for row in part] == list(range(rows))
    with pytest.raises(ValueError, match="outside"):
        part_name(10**6)


def test_listing_skips_temporary_and_foreign_names(tmp_path):
    for name in ("000001.json", ".000002.json.aa.tmp", "000003.json~", "notes.txt", "1.json", "000000.json"):
        (tmp_path / name).touch()
    assert entries(tmp_path, re.compile("[0-9]{6}"), ".json") == ["000000", "000001"]
    assert entries(tmp_path / "absent", re.compile("."), "") == []


def test_a_missing_file_is_incomplete_and_a_long_one_corrupt(tmp_path):
    with pytest.raises(StoreIncomplete, match="missing"):
        read_file(tmp_path, tmp_path / "vtt.json")
    (tmp_path / "vtt.json").write_bytes(b"123456")
    assert read_file(tmp_path, tmp_path / "vtt.json", limit=6) == b"123456"
    with pytest.raises(StoreCorrupt, match="too large"):
        read_file(tmp_path, tmp_path / "vtt.json", limit=5)


def test_links_and_devices_are_never_followed(tmp_path):
    root = tmp_path / "store"
    (root / "real").mkdir(parents=True)
    (root / "real" / "file").write_bytes(b"x")
    (root / "file").symlink_to(root / "real" / "file")
    (root / "folder").symlink_to(root / "real")
    os.mkfifo(root / "pipe")
    for path in (root / "file", root / "folder" / "file", root / "pipe", tmp_path / "elsewhere"):
        with pytest.raises(StoreError):
            open_file(root, path)


@pytest.mark.parametrize("what", ["part", "array", "receipt", "index"])
def test_a_store_with_a_link_in_it_is_refused(tmp_path, what):
    store, _ = filled_store(tmp_path / "store")
    (array,) = store.arrays()
    path = {
        "part": array.part_path(1),
        "array": array.path,
        "receipt": array.receipt_path(1),
        "index": store.layout.index_file(array.index_id),
    }[what]
    path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError, match=r"link"):
        read_all(type(store).open(store.path))
