"""Bob Jenkins' lookup3 hash, by which HDF5 seals the structure of its files, and where the seals of a file are."""

import re

_MASK = 0xFFFFFFFF
_BLOCK = 12


def _turned(number, bits):
    return (number << bits | number >> (32 - bits)) & _MASK


def _added(block, words):
    """Three words of the block added to three words."""
    found = [int.from_bytes(block[at : at + 4], "little") for at in (0, 4, 8)]
    return [(word + more) & _MASK for word, more in zip(words, found, strict=True)]


def lookup3(data):
    """The 32 bits that follow ``data`` in a file."""
    words = [(0xDEADBEEF + len(data)) & _MASK] * 3
    while len(data) > _BLOCK:
        a, b, c = _added(data, words)
        for bits in (4, 6, 8, 16, 19, 4):
            a = ((a - c) & _MASK) ^ _turned(c, bits)
            a, b, c = b, (c + b) & _MASK, a  # in the next round each takes the next one's place
        words, data = [a, b, c], data[_BLOCK:]
    if not data:
        return words[2]
    a, b, c = _added(data.ljust(_BLOCK, b"\0"), words)
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _turned(b, bits)) & _MASK
        a, b, c = b, c, a
    return b


def seals(data):
    """[start, stop) of everything in a file that four bytes behind it seal: superblock and object headers."""
    found = [(0, 44)]
    for start in (match.start() for match in re.finditer(b"OHDR|OCHK", data)):
        found += [
            (start, stop) for stop in range(start + 8, min(start + 1000, len(data))) if _sealed(data, start, stop)
        ]
    assert len(found) > 3
    assert all(_sealed(data, start, stop) for start, stop in found)
    return found


def reseal(data, spans):
    """The data with new seals behind the spans."""
    data = bytearray(data)
    for start, stop in spans:
        data[stop : stop + 4] = lookup3(bytes(data[start:stop])).to_bytes(4, "little")
    return bytes(data)


def _sealed(data, start, stop):
    return lookup3(data[start:stop]) == int.from_bytes(data[stop : stop + 4], "little")
