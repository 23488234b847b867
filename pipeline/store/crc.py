"""crc32c (Castagnoli), which Zarr's shards carry: of a row while it is still in the core's cache.

awscrt uses the widest instructions there are, about twice as fast as google-crc32c on machines with AVX-512.
"""

from awscrt.checksums import crc32c

__all__ = ["CRC_BYTES", "crc32c"]

CRC_BYTES = 4
