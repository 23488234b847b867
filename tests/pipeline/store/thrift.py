"""Just enough Thrift to write the footer of a parquet file that no writer would write."""

import struct


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def zigzag(number):
    return varint(number << 1)


def element(name, *, children=None, kind=None):
    """A required column, or a group of ``children``."""
    typed = b"" if kind is None else bytes([0x15]) + zigzag(kind)
    out = typed + bytes([0x35 if kind is None else 0x25]) + zigzag(0) + b"\x18" + varint(len(name)) + name
    return out + (b"" if children is None else b"\x15" + zigzag(children)) + b"\0"


def footer(elements, rows):
    """A parquet file of those schema elements and no row group, which says that it has ``rows`` rows."""
    count = b"\xfc" + varint(len(elements)) if len(elements) > 14 else bytes([len(elements) << 4 | 0xC])
    said = b"\x15" + zigzag(1) + b"\x19" + count + b"".join(elements) + b"\x16" + zigzag(rows) + b"\x19\x0c\0"
    return b"PAR1" + said + struct.pack("<I", len(said)) + b"PAR1"


def nested(depth):
    """Groups in groups, ``depth`` deep."""
    return footer([element(b"r", children=1), *[element(b"g", children=1)] * depth, element(b"x", kind=2)], 0)


def wide(columns):
    return footer([element(b"r", children=columns), *[element(b"x", kind=2)] * columns], 0)
