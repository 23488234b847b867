import google_crc32c
import numpy as np
import pytest

from visual_thought.pipeline.store.crc import CRC_BYTES, crc32c


def test_the_castagnoli_checksum_of_the_standard():
    """RFC 3720, B.4."""
    assert crc32c(b"") == 0
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


def test_every_small_size_at_every_alignment_agrees_with_another_implementation():
    data = np.random.default_rng(0).integers(0, 256, 1200, np.uint8)
    text = data.tobytes()
    for size in [*range(140), 255, 256, 257, 511, 513, 1023, 1024, 1025]:
        for start in range(64):
            assert crc32c(data[start : start + size]) == google_crc32c.value(text[start : start + size]), (start, size)


@pytest.mark.parametrize("size", [4096, 65537, 204_800, 401_409, 3_000_001])
def test_large_buffers_agree_with_another_implementation(size):
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    assert crc32c(data) == google_crc32c.value(data.tobytes())
    assert crc32c(data[3:]) == google_crc32c.value(data[3:].tobytes())


def test_any_buffer_of_the_same_bytes_has_the_same_checksum():
    data = bytes(range(200))
    numbers = np.frombuffer(data, np.float32)
    views = (data, bytearray(data), memoryview(data), numbers, numbers.reshape(5, 10), numbers.view(np.uint16))
    assert {crc32c(view) for view in views} == {google_crc32c.value(data)}


def test_one_flipped_bit_anywhere_changes_it():
    data, right = bytearray(np.random.default_rng(1).bytes(96)), []
    whole = crc32c(data)
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        right.append(crc32c(data) != whole)
        data[bit // 8] ^= 1 << bit % 8
    assert all(right)
    assert 0 <= whole < 256**CRC_BYTES
