"""Numbers of many heads of one shape as one table, a row a head; a parameter of one head or of all is a view of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Table:
    """Numbers of n heads.

    Args:
        rows: (n, p), one row a head.
        places: name -> first column, column past the last, shape.
    """

    rows: Float[Tensor, "n p"]
    places: Mapping[str, tuple[int, int, torch.Size]]

    @classmethod
    def of(cls, heads: Sequence[Mapping[str, Tensor]]) -> "Table":
        """A copy of every head's tensors, which have the same names and shapes in the same order."""
        places, start = dict[str, tuple[int, int, torch.Size]](), 0
        for name, values in heads[0].items():
            places[name] = (start, start + values.numel(), values.shape)
            start += values.numel()
        rows = [torch.cat([values.detach().flatten() for values in head.values()]) for head in heads]
        return cls(torch.stack(rows), places)

    def stacked(self, name: str) -> Float[Tensor, " n *shape"]:
        """The tensors of all heads."""
        start, stop, shape = self.places[name]
        return self.rows[:, start:stop].view(len(self.rows), *shape)

    def own(self, number: int, name: str) -> Tensor:
        """The tensor of one head."""
        start, stop, shape = self.places[name]
        return self.rows[number, start:stop].view(shape)

    def columns(self, names: Sequence[str]) -> slice:
        """The columns of names that stand next to each other."""
        return slice(self.places[names[0]][0], self.places[names[-1]][1])
