"""Mean and 95% interval of a few numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

T_95 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip
"""Student's t that 2.5% lie above, for 1 … 30 degrees of freedom."""
Z_95 = 1.959964


@dataclass(frozen=True)
class Interval:
    """A mean and its 95% interval.

    Args:
        mean: of the values that are numbers.
        half: half the interval's width; None for fewer than two values.
        values: one a seed; None where there is none.
    """

    mean: float | None
    half: float | None
    values: tuple[float | None, ...]

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Interval":
        """m ± t s / sqrt(n), Student's t with n - 1 degrees of freedom."""
        known = [value for value in values if value is not None and math.isfinite(value)]
        if not known:
            return cls(None, None, tuple(values))
        mean = math.fsum(known) / len(known)
        if len(known) < 2:
            return cls(mean, None, tuple(values))
        variance = math.fsum((value - mean) ** 2 for value in known) / (len(known) - 1)
        return cls(mean, t_95(len(known) - 1) * math.sqrt(variance / len(known)), tuple(values))

    def render(self, digits: int = 3) -> str:
        """``0.853 ± 0.012``."""
        if self.mean is None:
            return "-"
        return f"{self.mean:.{digits}f}" + ("" if self.half is None else f" ± {self.half:.{digits}f}")


def t_95(freedom: int) -> float:
    """Student's t that 2.5% lie above; beyond the table, the first terms of its expansion in 1 / freedom."""
    if freedom <= len(T_95):
        return T_95[freedom - 1]
    z = Z_95
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
