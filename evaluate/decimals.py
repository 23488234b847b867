"""How many decimals a column of numbers is written with: as many in every row."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from .layouts import Column, Numbers

LARGEST, LEAST, MOST = 4, 2, 8
"""Digits of a column's largest number, at least of its smallest, and decimals at most."""


def fitted(columns: Sequence[Column], rows: Sequence[Numbers]) -> tuple[Column, ...]:
    """The columns of free form (``.4g``) with decimals that fit all their values; the others as they are."""
    return tuple(_fitted(column, rows) if column.form.endswith("g") else column for column in columns)


def decimals(values: Iterable[float]) -> int:
    """Decimals for numbers that stand under each other: 4 digits of the largest, 2 of the smallest, 8 at most."""
    orders = [math.floor(math.log10(abs(value))) for value in values if value and math.isfinite(value)]
    if not orders:
        return 1
    return min(MOST, max(0, LARGEST - 1 - max(orders), LEAST - 1 - min(orders)))


def _fitted(column: Column, rows: Sequence[Numbers]) -> Column:
    values = [value for numbers in rows if (value := numbers.get(column.key)) is not None]
    return replace(column, form=f".{decimals(values)}f")
