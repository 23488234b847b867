"""crc32c (Castagnoli), which Zarr's shards carry: of a row while it is still in the core's cache.

awscrt uses the widest instructions there are, about twice as fast as google-crc32c on machines with AVX-512.
"""

from collections.abc import Buffer

import awscrt.checksums

CRC_BYTES = 4


def crc32c(data: Buffer) -> int:
    """The checksum of C-contiguous bytes."""
    value: int = awscrt.checksums.crc32c(data)
    return value
