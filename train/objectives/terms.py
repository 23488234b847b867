"""A loss as weighted terms that say over how many things they were averaged."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Term:
    """One part of a loss: the mean over ``count`` things, entering the total with ``weight``.

    The count makes averages over batches exact: a split's loss does not depend on how it was cut.
    """

    value: Float[Tensor, ""]
    count: int
    weight: float = 1.0

    @classmethod
    def mean(cls, values: Float[Tensor, " n"], weight: float = 1.0) -> "Term":
        """The mean of ``values``; 0 (and still part of the graph) for none."""
        return cls(values.sum() / max(len(values), 1), len(values), weight)


def total(terms: Mapping[str, Term]) -> Float[Tensor, ""]:
    """L = Σ weight · value; raises ValueError for no terms."""
    first, *rest = (term.value * term.weight for term in terms.values())
    return sum(rest, start=first)


def pooled(batches: Iterable[Mapping[str, Term]]) -> dict[str, float]:
    """Terms of many batches as if they had been one: every term's mean, and the weighted ``loss``."""
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    weights: dict[str, float] = {}
    for terms in batches:
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + float(term.value) * term.count
            counts[name] = counts.get(name, 0) + term.count
            weights[name] = term.weight
    means = {name: sums[name] / max(counts[name], 1) for name in sums}
    return {"loss": sum(weights[name] * value for name, value in means.items()), **means}
