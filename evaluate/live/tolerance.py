"""How far a feature that is computed again may lie from its stored row, and why.

The same weights on the same frames do not give the same bits on another machine, another number of threads or another
batch: sums are taken in another order, and what is rounded afterwards may fall to the other side.

======= ========= ====== =====================================================================================
compute cosine    abs    reason
======= ========= ====== =====================================================================================
fp32    1 - 1e-5  1e-3   one rounding is 2^-24 = 6e-8 of a number; sums over 1000 channels through 30 layers
                         make some 1e-5 of it, and single channels ten times that
bf16    1 - 1e-3  1/16   one rounding is 2^-9 of a number; 30 layers of flipped roundings add up like a random
                         walk to √30 · 2^-8 = 2% of a token, a cosine of 1 - 2e-4, the worst of thousands of
                         tokens to twice that; single channels to three times as much
======= ========= ====== =====================================================================================

A storage tier adds what its own rounding may move: nothing for fp32, one step 2^-8 for bf16. The steps of int8 depend
on the token and are far coarser than what is compared, so a stored int8 number counts as the nearest of all that round
to it (:func:`~.moved.nearest`), and int8 adds nothing.

``abs`` is in units of the largest number in the stored row's token, because that is what roundings are measured by. Of
a teacher's maps, a token is the whole map of one channel: a line of it may be all but zero.
"""

from dataclasses import asdict, dataclass

from ...pipeline.spec import FeatureSpec

COSINE = {"fp32": 1e-5, "bf16": 1e-3}
ABSOLUTE = {"fp32": 1e-3, "bf16": 1 / 16}
TIER_COSINE = {"fp32": 0.0, "bf16": 1e-5, "int8": 0.0}
TIER_ABSOLUTE = {"fp32": 0.0, "bf16": 2**-8, "int8": 0.0}


@dataclass(frozen=True)
class Tolerance:
    """What two computations of one feature may differ by.

    Args:
        cosine: least cosine of a token with itself.
        absolute: largest difference of a number, as a share of its token's largest.
    """

    cosine: float
    absolute: float

    def to_json(self) -> dict[str, float]:
        """A plain dictionary."""
        return asdict(self)


def tolerance_of(spec: FeatureSpec) -> Tolerance:
    """The tolerance of a feature's compute type and storage tier together."""
    dtype = str(spec.compute.get("dtype", "fp32"))
    lost = COSINE[dtype] + TIER_COSINE[spec.tier]
    return Tolerance(1.0 - lost, ABSOLUTE[dtype] + TIER_ABSOLUTE[spec.tier])
