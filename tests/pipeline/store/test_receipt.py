import json

import numpy as np
import pytest

from visual_thought.pipeline.errors import StoreCorrupt, StoreError, StoreIncomplete
from visual_thought.pipeline.spec import canonical_json, sha256_json
from visual_thought.pipeline.store.receipt import (
    Receipt,
    checked_info,
    checksum_digits,
    read_receipt,
    write_receipt,
)

from .toys import flip, overwrite, some_bits


def a_receipt(**changes):
    fields = {
        "schema_version": 1,
        "index_id": "0123456789abcdef",
        "feature": "z-1a2b3c4d",
        "row_start": 128,
        "row_stop": 131,
        "bytes": 2100,
        "sha256": "ab" * 32,
        "nan_count": 0,
        "inf_count": 2,
        "row_crc32c": "00000001deadbeefffffffff",
        "frames_sha256": None,
        "info": {"seconds": {"forward": 0.25}, "host": "a"},
    }
    return Receipt.model_validate(fields | changes)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "000001.json"


def test_a_receipt_comes_back_as_it_was_written(path):
    assert write_receipt(path, a_receipt()) == a_receipt()
    assert read_receipt(path.parent, path) == a_receipt()
    assert a_receipt().rows == 3


def test_row_checksums_are_eight_digits_each():
    checksums = np.array([1, 0xDEADBEEF, 0xFFFFFFFF], np.uint32)
    assert checksum_digits(checksums) == a_receipt().row_crc32c
    assert (a_receipt().row_checksums == checksums).all()


def test_the_first_receipt_stays_and_info_is_not_compared(path):
    write_receipt(path, a_receipt())
    assert write_receipt(path, a_receipt(info={"host": "b"})).info["host"] == "a"
    with pytest.raises(StoreCorrupt, match="does not describe"):
        write_receipt(path, a_receipt(sha256="cd" * 32))


def test_flipped_bits_are_errors(path):
    write_receipt(path, a_receipt())
    for bit in some_bits(path, 600):
        flip(path, bit)
        with pytest.raises(StoreCorrupt, match=r"000001\.json"):
            read_receipt(path.parent, path)
        flip(path, bit)
    assert read_receipt(path.parent, path) == a_receipt()


@pytest.mark.parametrize(
    "changes",
    [
        {"row_stop": 132},
        {"row_start": -1},
        {"bytes": 0},
        {"bytes": "2100"},
        {"bytes": 2100.0},
        {"bytes": 1 << 60},
        {"sha256": "AB" * 32},
        {"sha256": "ab"},
        {"index_id": "../../etc"},
        {"feature": "z"},
        {"row_crc32c": ""},
        {"row_crc32c": "00" * 4 * 10**6},
        {"schema_version": 0},
        {"nan_count": True},
        {"more": 1},
    ],
)
def test_a_receipt_that_cannot_be_is_refused_even_with_a_right_checksum(path, changes):
    fields = a_receipt().model_dump() | changes
    overwriteable(path, (canonical_json(fields | {"checksum": sha256_json(fields)}) + "\n").encode())
    with pytest.raises(StoreCorrupt, match=r"not a receipt|too large"):
        read_receipt(path.parent, path)


def overwriteable(path, data):
    path.touch()
    overwrite(path, data)


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{}", b"{", b"\xff", b"[" * 60000, b"0" * 10**5])
def test_other_bytes_are_no_receipt(path, data):
    overwriteable(path, data)
    with pytest.raises(StoreCorrupt):
        read_receipt(path.parent, path)


def test_a_newer_receipt_says_so(path):
    fields = a_receipt().model_dump() | {"schema_version": 2, "news": True}
    overwriteable(path, canonical_json(fields | {"checksum": sha256_json(fields)}).encode())
    with pytest.raises(StoreError, match="newer release"):
        read_receipt(path.parent, path)


def test_the_same_json_in_another_form_is_refused(path):
    write_receipt(path, a_receipt())
    overwrite(path, json.dumps(json.loads(path.read_bytes()), indent=1).encode())
    with pytest.raises(StoreCorrupt, match="changed"):
        read_receipt(path.parent, path)


def test_no_receipt_means_no_part(path):
    with pytest.raises(StoreIncomplete, match="missing"):
        read_receipt(path.parent, path)


@pytest.mark.parametrize("info", [{"seconds": float("nan")}, {"when": object()}, {"log": "x" * 20000}])
def test_info_is_plain_short_json(info):
    with pytest.raises(StoreError, match="info"):
        checked_info(info)


def test_info_keeps_what_json_can_say():
    assert checked_info({"seconds": {"forward": 1.5}, "batch": (1, 2)}) == {
        "seconds": {"forward": 1.5},
        "batch": [1, 2],
    }
