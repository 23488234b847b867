"""Which examples a step sees: a function of the seed and the step alone, so a resumed run sees the same."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock

import numpy as np
from jaxtyping import Int

ORDER, BLIND, INSIDE = 1, 2, 3  # streams of one seed: what the random numbers are for
EVALUATION_SEED = 20260521
"""The blind control's permutation in every evaluation, whatever the run's own seed."""


@dataclass(frozen=True)
class Draw:
    """The examples of one step, and the epoch each belongs to (a batch may span two)."""

    step: int
    examples: Int[np.ndarray, " b"]
    epochs: Int[np.ndarray, " b"]


Plan = Callable[[int], Draw]
"""Step -> its draw."""


class EpochOrder:
    """Every example once an epoch, in a new order each epoch; batches run across epoch borders.

    Args:
        examples: the split's examples.
        batch_size: examples a step.
        seed: the run's seed.
    """

    def __init__(self, examples: Int[np.ndarray, " n"], batch_size: int, seed: int) -> None:
        self.examples, self.batch_size = examples, batch_size
        self._orders = _Recent(lambda epoch: np.random.default_rng([seed, ORDER, epoch]).permutation(len(examples)))

    def __call__(self, step: int) -> Draw:
        """The draw of a step, counted from 0."""
        return _draw(step, self.batch_size, self.examples, self._orders)


class WindowOrder:
    """Every example once an epoch, drawn from a few parts of the store at a time; batches run across all borders.

    In each epoch the parts stand in a new random order; every ``window`` of them are a window, whose examples stand in
    random order. So a reader goes through a cold store part by part, and :meth:`ahead` says what it comes to next.

    Args:
        examples: the split's examples.
        parts: (n,) the part of the store each of them lies in.
        batch_size: examples a step.
        seed: the run's seed.
        window: parts a window.
    """

    def __init__(
        self,
        examples: Int[np.ndarray, " n"],
        parts: Int[np.ndarray, " n"],
        batch_size: int,
        *,
        seed: int,
        window: int,
    ) -> None:
        self.examples, self.batch_size, self._seed, self._window = examples, batch_size, seed, window
        self._names, self._part = np.unique(parts, return_inverse=True)
        self._orders = _Recent(self._order)
        self._ends = _Recent(lambda epoch: np.cumsum(np.bincount(self._windows(epoch))))

    def __call__(self, step: int) -> Draw:
        """The draw of a step, counted from 0."""
        return _draw(step, self.batch_size, self.examples, self._orders)

    def ahead(self, step: int, *, first: bool) -> Int[np.ndarray, " m"]:
        """Examples of the windows that lie behind those this step draws from, if the step before did not reach them.

        The ``first`` step of a run also gets the windows it draws from itself.
        """
        stop = self._window_at((step + 1) * self.batch_size - 1) + 2
        start = self._window_at(step * self.batch_size) if first else self._window_at(step * self.batch_size - 1) + 2
        found = [self._examples_of(window) for window in range(start, stop)]
        return np.concatenate(found) if found else self.examples[:0]

    def _windows(self, epoch: int) -> Int[np.ndarray, " n"]:
        """The window of every example."""
        rank = np.random.default_rng([self._seed, ORDER, epoch]).permutation(len(self._names))
        windows: Int[np.ndarray, " n"] = rank[self._part] // self._window
        return windows

    def _order(self, epoch: int) -> Int[np.ndarray, " n"]:
        inside = np.random.default_rng([self._seed, INSIDE, epoch]).random(len(self.examples))
        return np.lexsort([inside, self._windows(epoch)])

    def _window_at(self, position: int) -> int:
        """The window of a position, counted through all epochs; -1 before the first."""
        if position < 0:
            return -1
        epoch, place = divmod(position, len(self.examples))
        ends = self._ends(epoch)
        return epoch * len(ends) + int(np.searchsorted(ends, place, side="right"))

    def _examples_of(self, window: int) -> Int[np.ndarray, " m"]:
        epoch, number = divmod(window, -(-len(self._names) // self._window))
        return self.examples[self._windows(epoch) == number]


def _draw(
    step: int, batch_size: int, examples: Int[np.ndarray, " n"], orders: Callable[[int], Int[np.ndarray, " n"]]
) -> Draw:
    """A batch of the endless sequence of epochs, each in its own order."""
    position = step * batch_size + np.arange(batch_size)
    epochs, place = np.divmod(position, len(examples))
    order = np.concatenate([orders(int(epoch))[place[epochs == epoch]] for epoch in np.unique(epochs)])
    return Draw(step, examples[order], epochs)


@dataclass(frozen=True)
class Share:
    """What one of several processes takes of every step: a run of neighbouring examples, all about equally many.

    Args:
        plan: the whole steps.
        index: which process, from 0.
        count: processes.
    """

    plan: Plan
    index: int
    count: int

    def __call__(self, step: int) -> Draw:
        """This process's part of the step's draw."""
        draw = self.plan(step)
        mine = pieces(len(draw.examples), self.count)[self.index]
        return Draw(step, draw.examples[mine], draw.epochs[mine])


def pieces(things: int, count: int) -> list[slice]:
    """Cut neighbouring things into ``count`` pieces whose sizes differ by one at most."""
    borders = [things * number // count for number in range(count + 1)]
    return [slice(*ends) for ends in pairwise(borders)]


class InOrder:
    """The examples as they stand, once; the last batch may be shorter."""

    def __init__(self, examples: Int[np.ndarray, " n"], batch_size: int) -> None:
        self.examples, self.batch_size = examples, batch_size

    def __len__(self) -> int:
        return (len(self.examples) + self.batch_size - 1) // self.batch_size

    def __call__(self, step: int) -> Draw:
        """The draw of a batch, counted from 0; all of epoch 0."""
        examples = self.examples[step * self.batch_size : (step + 1) * self.batch_size]
        return Draw(step, examples, np.zeros_like(examples))


class BlindExchange:
    """For every example, a uniformly random example of the same group, anew each epoch.

    A permutation inside each group: over many epochs every member stands for every other equally often, itself
    included, so which member stands in says nothing about which was asked. Groups are frames, members the queries of
    one frame: a model that reads the stand-in's tokens sees the image but not the question.

    Args:
        groups: the group of every example.
        seed: the run's seed in training, :data:`EVALUATION_SEED` in evaluation.
    """

    def __init__(self, groups: Int[np.ndarray, " n"], seed: int) -> None:
        self.groups = groups
        self._exchanges = _Recent(lambda epoch: permute_within(groups, np.random.default_rng([seed, BLIND, epoch])))

    def __call__(self, draw: Draw) -> Int[np.ndarray, " b"]:
        """The stand-in of every drawn example."""
        result = np.empty_like(draw.examples)
        for epoch in np.unique(draw.epochs):
            mine = draw.epochs == epoch
            result[mine] = self._exchanges(int(epoch))[draw.examples[mine]]
        return result


def permute_within(groups: Int[np.ndarray, " n"], rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """A uniformly random permutation p of 0 … n-1 with groups[p[i]] == groups[i]."""
    result = np.empty(len(groups), dtype=np.int64)
    shuffled = np.lexsort([rng.random(len(groups)), groups])  # by group, at random inside
    result[np.argsort(groups, kind="stable")] = shuffled
    return result


class _Recent:
    """The last few permutations, each made once; safe to call from several threads."""

    def __init__(self, make: Callable[[int], Int[np.ndarray, " n"]]) -> None:
        self._make, self._kept, self._lock = make, dict[int, Int[np.ndarray, " n"]](), Lock()

    def __call__(self, epoch: int) -> Int[np.ndarray, " n"]:
        with self._lock:
            if epoch not in self._kept:
                self._kept[epoch] = self._make(epoch)
                for old in sorted(self._kept.keys() - {epoch})[:-3]:
                    del self._kept[old]
            return self._kept[epoch]
