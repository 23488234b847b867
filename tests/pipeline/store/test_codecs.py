"""Lossless rows: what comes back is what went in, and nothing else is ever believed."""

import struct
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visual_thought.pipeline.store.codecs import compress, decompress

from .toys import a_spec, some_values

SPEC = a_spec(shape=(16, 64))
ROW = some_values(SPEC, 1).view(np.uint8).reshape(-1)
PACKED = compress(ROW, SPEC)
HEADER = struct.Struct("<BBBBIII")


def unpacked(data, size=ROW.nbytes):
    out = np.zeros(size, np.uint8)
    decompress(data, out)
    return out


@pytest.mark.parametrize("tier", ["bf16", "fp32", "int8"])
@pytest.mark.parametrize("shape", [(1,), (3, 4), (16, 64), (24, 24, 64)])
def test_a_row_comes_back_bit_for_bit_and_packs_the_same_every_time(tier, shape):
    spec = a_spec(tier=tier, shape=shape)
    for kind in ("noise", "zeros"):
        row = np.zeros(spec.row_bytes, np.uint8)
        if kind == "noise":
            row[:] = np.random.default_rng(0).integers(0, 256, spec.row_bytes)
        packed = compress(row, spec)
        assert unpacked(packed, spec.row_bytes).tobytes() == row.tobytes()
        assert compress(row.copy(), spec) == packed
        assert len(packed) <= spec.row_bytes + 16


def test_features_become_smaller():
    """Numbers of one size share their exponents, which is what bit planes apart are for."""
    assert len(PACKED) < 0.95 * ROW.nbytes


def test_every_truncation_is_refused():
    for size in range(len(PACKED)):
        with pytest.raises(ValueError, match="row"):
            unpacked(PACKED[:size])
    with pytest.raises(ValueError, match="row"):
        unpacked(PACKED + b"\0")


def test_a_row_of_another_size_is_refused():
    for size in (ROW.nbytes - 1, ROW.nbytes + 1, 2 * ROW.nbytes, 1):
        with pytest.raises(ValueError, match="expected"):
            unpacked(PACKED, size)


@pytest.mark.parametrize("claimed", [0, 1, ROW.nbytes + 1, 1 << 20, (1 << 31) - 1, (1 << 32) - 1])
def test_a_header_that_claims_another_size_is_refused_before_anything_is_allocated(claimed):
    fields = list(HEADER.unpack_from(PACKED))
    fields[4] = claimed
    data = HEADER.pack(*fields) + PACKED[HEADER.size :]
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="compressed row"):
            unpacked(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200))
def test_random_bytes_are_refused(data):
    with pytest.raises(ValueError, match="row"):
        unpacked(data)


def test_hostile_headers_and_blocks_give_an_error_or_a_row_and_never_a_crash():
    """In a process of its own under a limit of memory: right sizes, everything else mutated."""
    code = f"""
import resource, struct, sys
import numpy as np
resource.setrlimit(resource.RLIMIT_AS, ({2 << 30}, {2 << 30}))
from visual_thought.pipeline.store.codecs import decompress
packed, size = bytes.fromhex(sys.stdin.read()), {ROW.nbytes}
rng, refused = np.random.default_rng(0), 0
for turn in range(20000):
    data = bytearray(packed)
    for _ in range(rng.integers(1, 6)):
        data[rng.integers(0, 40 if turn % 2 else len(data))] = rng.integers(0, 256)
    struct.pack_into("<I", data, 4, size)
    struct.pack_into("<I", data, 12, len(data))
    if turn % 5 == 0:
        struct.pack_into("<I", data, 8, int(rng.choice([0, 1, size, 2**31 - 1, 2**31, 2**32 - 1])))
    try:
        decompress(bytes(data), np.zeros(size, np.uint8))
    except ValueError:
        refused += 1
print(refused)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], input=PACKED.hex(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 5000


def test_another_compressor_is_refused():
    with pytest.raises(ValueError, match="row"):
        unpacked(zlib.compress(ROW.tobytes()))
