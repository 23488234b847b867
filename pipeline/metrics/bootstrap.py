"""Is one run better than another on the same episodes: the paired bootstrap over whole episodes.

Frames of one episode are not independent, so episodes are what is drawn; both runs are measured on the same draws, so
what makes an episode hard for both cancels out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

DRAWS = 10_000
FEW_EPISODES = 10
"""With fewer episodes than this, the interval is too narrow to be trusted."""

type Sums = Mapping[str, Float[np.ndarray, " d"]]
"""Sums of many draws, by name."""
type SumMetric = Callable[[Sums], Float[np.ndarray, " d"]]
"""A metric that follows from sums; nan where it is not defined."""


@dataclass(frozen=True)
class EpisodeSums:
    """What a metric is made of, summed by episode.

    Args:
        episodes: episode numbers in rising order, (e,).
        values: the sums of every episode, each (e,).
    """

    episodes: Int[np.ndarray, " e"]
    values: Mapping[str, Float[np.ndarray, " e"]]

    @classmethod
    def of(cls, episode: Int[np.ndarray, " n"], rows: Mapping[str, Float[np.ndarray, " n"]]) -> "EpisodeSums":
        """Sum rows by their episode."""
        episodes, place = np.unique(episode, return_inverse=True)
        sums = {name: np.bincount(place, np.asarray(value, float), len(episodes)) for name, value in rows.items()}
        return cls(episodes, sums)

    def drawn(self, times: Float[np.ndarray, "d e"]) -> Sums:
        """The sums when every episode is counted so many times, (d,) each."""
        return {name: times @ value for name, value in self.values.items()}


@dataclass(frozen=True)
class Difference:
    """One metric of two runs on the same episodes.

    Args:
        first: of the first run, all episodes once.
        second: of the second run.
        low: 2.5% of the draws have a smaller difference second - first.
        high: 2.5% have a larger one.
        p: twice the smaller share of draws on one side of no difference (those at 0 count as half), at
            most 1 and at least 1 / draws, the least that can be told.
        draws: in which both were defined.
    """

    first: float
    second: float
    low: float
    high: float
    p: float
    draws: int

    @property
    def difference(self) -> float:
        """second - first."""
        return self.second - self.first

    @property
    def clear(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.low > 0 or self.high < 0


def draw_episodes(episodes: int, draws: int, seed: int) -> Float[np.ndarray, "d e"]:
    """How often each episode is drawn when as many as there are are drawn with replacement."""
    chances = np.full(episodes, 1 / episodes)
    return np.random.default_rng(seed).multinomial(episodes, chances, size=draws).astype(float)


def paired_bootstrap(
    first: EpisodeSums, second: EpisodeSums, metric: SumMetric, *, draws: int = DRAWS, seed: int = 0
) -> Difference:
    """Percentile interval of metric(second) - metric(first) over draws of whole episodes, the same for both.

    Draws in which one of the two is not defined are left out; without any, the interval is nan.

    Args:
        first: sums of one run.
        second: of the other, over the same episodes.
        metric: from sums to a number.
        draws: how many.
        seed: of the draws.

    Raises:
        ValueError: the two are not about the same episodes.
    """
    if not np.array_equal(first.episodes, second.episodes):
        raise ValueError("the two runs were not judged on the same episodes")
    once = np.ones((1, len(first.episodes)))
    times = draw_episodes(len(first.episodes), draws, seed)
    change = metric(second.drawn(times)) - metric(first.drawn(times))
    known = change[np.isfinite(change)]
    low, high = np.percentile(known, [2.5, 97.5]) if known.size else (np.nan, np.nan)
    return Difference(
        first=float(metric(first.drawn(once))[0]),
        second=float(metric(second.drawn(once))[0]),
        low=float(low),
        high=float(high),
        p=_two_sided(known),
        draws=known.size,
    )


def _two_sided(change: Float[np.ndarray, " d"]) -> float:
    if not change.size:
        return float("nan")
    below = float((change < 0).mean() + (change == 0).mean() / 2)
    return float(max(min(1.0, 2 * min(below, 1 - below)), 1 / change.size))


def ratio(part: Float[np.ndarray, " d"], whole: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
    """part / whole; nan where there is nothing to have a share of."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, part / whole, np.nan)
