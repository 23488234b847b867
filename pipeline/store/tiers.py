"""Numbers from one storage tier to another, without torch.

    bf16 -> fp32   exact
    fp32 -> bf16   to the nearest, ties to even
    either -> int8 see :mod:`.int8`

What int8 or bf16 rounded away does not come back, so int8 goes nowhere; bf16 -> fp32 loses nothing and is allowed.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float32, Shaped, UInt16

from ..errors import StoreError
from ..spec import Tier
from .int8 import ChannelScale, dequantise, quantise, token_scales

SMALLER: Mapping[Tier, tuple[Tier, ...]] = {"fp32": ("bf16", "int8"), "bf16": ("int8",), "int8": ()}
"""The tiers smaller than each."""

_NAN = np.uint16(0x7FC0)


def refuse_tiers(source: Tier, target: Tier) -> None:
    """StoreError for a conversion that cannot give back what the source has lost."""
    if source == "int8" and target != "int8":
        raise StoreError(
            f"int8 numbers cannot become {target}: what was rounded away does not come back",
            found="int8",
            expected="bf16 or fp32 numbers to convert from",
            remedy="convert the store that the int8 one was made from, or keep --tier same",
        )


def narrow(x: Float32[np.ndarray, "*shape"]) -> UInt16[np.ndarray, "*shape"]:
    """bfloat16 bits of float32 numbers: the nearest, of two equally near ones the even; any NaN is 0x7FC0.

    A finite number beyond the largest bfloat16 by half a step becomes infinite, as in IEEE 754.
    """
    bits = np.ascontiguousarray(x).view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = ((bits + (np.uint32(0x7FFF) + odd)) >> np.uint32(16)).astype(np.uint16)
    return np.where(np.isnan(x), _NAN, rounded)


def widen(bits: UInt16[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """float32 numbers of bfloat16 bits, exactly."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_float32(
    stored: Shaped[np.ndarray, "*stored"], tier: Tier, scale: ChannelScale | None = None
) -> Float32[np.ndarray, "*shape"]:
    """The numbers that stored ones mean; float32 itself is not copied.

    Raises:
        ValueError: int8 without its scale.
    """
    if tier == "int8":
        if scale is None:
            raise ValueError("int8 numbers mean nothing without their channels' scale")
        return dequantise(stored, scale)
    return widen(stored) if tier == "bf16" else stored


def from_float32(
    x: Float32[np.ndarray, "*shape"], tier: Tier, scale: ChannelScale | None = None
) -> Shaped[np.ndarray, "*stored"]:
    """Numbers as a tier stores them; float32 itself is not copied.

    Raises:
        StoreError: int8 and a number that is not finite.
        ValueError: int8 without its scale.
    """
    if tier == "int8":
        if scale is None:
            raise ValueError("int8 needs a scale of its channels")
        return quantise(x, scale)
    return narrow(x) if tier == "bf16" else x


def recode(
    stored: Shaped[np.ndarray, " rows *stored"], source: Tier, target: Tier, scale: ChannelScale | None
) -> Shaped[np.ndarray, " rows *recoded"]:
    """Stored rows in another tier; the same array if it is the same tier.

    Args:
        stored: rows as the source stores them.
        source: their tier, not int8 unless the target is.
        target: the tier wanted.
        scale: for int8.

    Raises:
        StoreError: a number that the target cannot hold; names the row.
    """
    refuse_tiers(source, target)
    if source == target:
        return stored
    x = to_float32(stored, source)
    try:
        recoded = from_float32(x, target, scale)
    except StoreError as error:
        raise _naming_the_row(error, x, scale) from error
    if target == "bf16":
        lost = np.isfinite(x) & ~np.isfinite(widen(recoded))
        if lost.any():
            raise StoreError(
                f"row {_first_row(lost)}: a finite number is too large for bf16", expected="at most 3.39e38"
            )
    return recoded


def not_finite_rows(stored: Shaped[np.ndarray, " rows *stored"], tier: Tier) -> Bool[np.ndarray, " rows"]:
    """Which rows hold a NaN or an infinity."""
    numbers = token_scales(stored) if tier == "int8" else to_float32(stored, tier)
    finite: Bool[np.ndarray, " rows"] = np.isfinite(numbers).reshape(len(stored), -1).all(axis=1)
    return ~finite


def _naming_the_row(
    error: StoreError, x: Float32[np.ndarray, " rows *shape"], scale: ChannelScale | None
) -> StoreError:
    """The same error with the first row that raises it alone."""
    for row, numbers in enumerate(x):
        try:
            from_float32(numbers, "int8", scale)
        except StoreError as same:
            return StoreError(f"row {row}: {same.problem}", remedy=same.remedy)
    return error


def _first_row(bad: Bool[np.ndarray, " rows *shape"]) -> int:
    return int(bad.reshape(len(bad), -1).any(axis=1).argmax())
