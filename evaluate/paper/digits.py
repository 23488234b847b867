"""Numbers as a table prints them."""

from typing import Any

from .table import Cell, Column, Kind

NOTHING = "-"
_FIXED: dict[Kind, int] = {"fixed3": 3, "fixed4": 4, "count": 0}


def shown(cell: Cell, column: Column) -> str:
    """A value, without its interval: ``0.848``, ``10.68M``, ``5e-6``, ``32x32``; ``-`` where there is none."""
    value = cell.value
    if value is None:
        return NOTHING
    if isinstance(value, (list, tuple)):
        return printable("x".join(map(str, value)))
    if isinstance(value, (str, bool)):
        return printable(str(value))
    return _number(value, column.kind)


def printable(text: str) -> str:
    """Words of anybody's on one line, without a character that commands a terminal."""
    return "".join(char if char.isprintable() else " " for char in " ".join(text.split()))


def half_shown(cell: Cell, column: Column) -> str:
    """Half the interval in the digits of its value; empty where there is none."""
    if cell.half is None or cell.value is None:
        return ""
    small = _is_small(cell.value, column.kind)
    return f"{cell.half:.0e}" if small else f"{cell.half:.{_FIXED.get(column.kind, 3)}f}"


def _number(value: Any, kind: Kind) -> str:
    if kind in _FIXED:
        return f"{value:.2e}" if _is_small(value, kind) else f"{value:.{_FIXED[kind]}f}"
    if kind == "millions":
        return f"{value / 1e6:.2f}M" if value >= 1e5 else f"{value / 1e3:.1f}k" if value >= 1e3 else str(value)
    if kind == "rate" and isinstance(value, float):
        return _power(value)
    if kind == "share" and round(value, 2) == value:
        return f"{value:.2f}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _power(value: float) -> str:
    """5e-6, not 5e-06; 0.02 as it is."""
    if 1e-3 < abs(value) < 1e3 or not value:
        return f"{value:g}"
    mantissa, _, exponent = f"{value:e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _is_small(value: float, kind: Kind) -> bool:
    """Whether four decimals would print an error as nothing, or nearly."""
    return kind == "fixed4" and 0 < abs(value) < 5e-4
