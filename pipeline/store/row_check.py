"""Whether a row is the one its receipt describes."""

from typing import Literal

import numpy as np
from jaxtyping import Int64

from ..errors import StoreCorrupt
from .crc import crc32c
from .places import REPAIR, Places, Row

Verify = Literal["first", "always", "never"]


class RowCheck:
    """Compares a row's crc32c with the receipt's.

    Args:
        places: whose rows.
        verify: check a row at its first read, at every read, or not at all.
    """

    def __init__(self, places: Places, verify: Verify) -> None:
        self.always, self._never, self._places = verify == "always", verify == "never", places

    def is_due(self, known: bool) -> bool:
        """Whether a row is to be checked that was read before (``known``) or not."""
        return self.always or not (known or self._never)

    def expected(self, rows: Int64[np.ndarray, " n"]) -> list[int]:
        """The checksums of rows as their receipts say."""
        checksums: list[int] = self._places.crc_of[rows].tolist()
        return checksums

    def __call__(self, row: int, numbers: Row, expected: int) -> None:
        """StoreCorrupt, naming store, array, part and row, unless these numbers have that checksum."""
        found = crc32c(numbers)
        if found != expected:
            raise StoreCorrupt(
                f"row {row} in {self._places.label(row)} is not the one its receipt describes",
                found=f"crc32c {found:08x}",
                expected=f"{expected:08x}",
                remedy=REPAIR,
            )
