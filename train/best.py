"""Which validation of a contender is its best."""

import math
from dataclasses import dataclass

type Rank = tuple[float, float, int]


@dataclass(frozen=True)
class Best:
    """The best validation of one contender so far.

    Args:
        step: after how many steps it was.
        value: its metric.
        loss: its validation loss; None where it was no number, or nobody wrote it down.
        reached: the first step with this value, from which patience counts; None: the step itself.
    """

    step: int
    value: float
    loss: float | None = None
    reached: int | None = None

    @property
    def since(self) -> int:
        """The first step with this value."""
        return self.step if self.reached is None else self.reached


def rank(value: float, loss: float | None, step: int, *, sign: float) -> Rank:
    """What the best validation has most of: the metric, of equals the lower loss, of equals the later step.

    A contender whose metric does not move, such as F of one that never decides, is so judged as trained as it is.

    Args:
        value: the metric, a finite number.
        loss: the validation loss.
        step: after how many steps.
        sign: +1 where more of the metric is better, -1 where less is.
    """
    return sign * value, -math.inf if loss is None or not math.isfinite(loss) else -loss, step


def better(best: Best | None, step: int, value: float, loss: float | None, *, sign: float) -> Best | None:
    """The best of what was known and a later validation; a value that is no finite number is never the best."""
    if not math.isfinite(value):
        return best
    kept = loss if loss is not None and math.isfinite(loss) else None
    if best is None or sign * value > sign * best.value:
        return Best(step, value, kept, step)
    if rank(value, kept, step, sign=sign) > rank(best.value, best.loss, best.step, sign=sign):
        return Best(step, value, kept, best.since)
    return best
