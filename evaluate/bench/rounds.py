"""Interleaved rounds: the only way two times on a shared machine can be compared.

In every round each contender runs in a new random order; a ratio is taken inside a round, and the median over
rounds is reported with its range. A contender that runs twice under two names (A/A) says how far apart equal things
come out, which is what any other difference must be held against.
"""

import random
import signal
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tqdm import tqdm

from ...pipeline.interrupt import stop_on_signals

AGAIN = " (again)"
"""What the second run of a contender in its A/A control is called."""

type Seconds = dict[str, list[float]]
"""Seconds a unit of work, one number a round, by contender."""


@dataclass(frozen=True)
class Spread:
    """The median of some numbers, and their range."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Of at least one number."""
        found = sorted(values)
        return cls(statistics.median(found), found[0], found[-1])

    def render(self, digits: int = 2) -> str:
        """``0.93 [0.88-0.97]``."""
        return f"{self.median:.{digits}f} [{self.low:.{digits}f}-{self.high:.{digits}f}]"


def interleave(
    contenders: Mapping[str, Callable[[], list[float]]],
    *,
    rounds: int,
    label: str,
    slices: int = 1,
    quiet: bool = False,
    seed: int = 0,
) -> Seconds:
    """Run every contender a few times a round, in a new random order each time.

    What counts in a round is the median of all that a contender took in it, which neither a neighbour on the machine
    that comes and goes nor a single pause decides.

    Args:
        contenders: each does its work and returns the seconds that units of it took; all are warm already.
        rounds: how many.
        slices: runs a round.
        label: for the progress bar on stderr.
        quiet: no progress bar.
        seed: of the order.

    Raises:
        KeyboardInterrupt: SIGTERM came, which is looked at between two runs: an exception out of a signal's handler is
            lost where it happens to strike a destructor.
    """
    order, seconds = random.Random(seed), {name: list[float]() for name in contenders}
    bar = tqdm(range(rounds), desc=label, unit="round", disable=quiet, leave=False, file=sys.stderr)
    with stop_on_signals((signal.SIGTERM,)) as stop, bar:
        for _ in bar:
            took = {name: list[float]() for name in contenders}
            for _ in range(slices):
                for name in order.sample(list(contenders), len(contenders)):
                    took[name] += contenders[name]()
                    if stop:
                        raise KeyboardInterrupt
            for name, times in took.items():
                seconds[name].append(statistics.median(times))
    return seconds


def speed(seconds: Seconds, name: str, baseline: str) -> Spread:
    """How many times as fast a contender is as the baseline of the same round."""
    return Spread.of(base / own for own, base in zip(seconds[name], seconds[baseline], strict=True))


def control(seconds: Seconds, name: str) -> Spread:
    """The A/A control: a contender against itself."""
    return speed(seconds, name + AGAIN, name)
