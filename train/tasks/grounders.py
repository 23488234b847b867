"""The models of the grounding task: decoder and head, and the linear probe, behind one small interface."""

from typing import NamedTuple, Protocol, cast

from jaxtyping import Float, Int
from torch import Tensor, nn

from ..decoder import VisualThoughtDecoder
from ..heads.ground import Head
from ..heads.probe import LinearProbe
from ..heads.scores import GroundingScores, top_candidates, unrefined


class Reading(NamedTuple):
    """What is known before candidates are chosen."""

    tau: Float[Tensor, "b d"] | None
    """The visual-thought token; None for a probe, which has none."""
    coarse: Float[Tensor, "b cells"]
    """The relevance logits a."""


class Grounder(Protocol):
    """What the grounding task asks of a contender's model."""

    refines: bool
    num_candidates: int

    def read(self, z: Float[Tensor, "b n v"]) -> Reading:
        """Coarse logits of a batch."""

    def refine(
        self, reading: Reading, fine: Float[Tensor, "b h w c"] | None, candidates: Int[Tensor, "b k"]
    ) -> GroundingScores:
        """Scores of given candidates."""


class DecodedGrounder(nn.Module):
    """Decoder with one query, then a grounding head (paper, eq. 34-46)."""

    def __init__(self, decoder: VisualThoughtDecoder, head: nn.Module) -> None:
        super().__init__()
        self.decoder, self.head = decoder, head
        self.refines, self.num_candidates = self._head.refines, self._head.num_candidates

    @property
    def _head(self) -> Head:
        return cast(Head, self.head)

    def forward(self, z: Float[Tensor, "b n v"], fine: Float[Tensor, "b h w c"] | None = None) -> GroundingScores:
        """z (b, tokens, d_vlm), R (b, rows, columns, channels) -> scores, candidates as predicted."""
        reading = self.read(z)
        return self.refine(reading, fine, top_candidates(reading.coarse, self.num_candidates))

    def read(self, z: Float[Tensor, "b n v"]) -> Reading:
        """tau = f_psi(Z) and a (eq. 34-37)."""
        tau = self.decoder(z)[:, 0]  # (b, d)
        return Reading(tau, self._head.coarse(tau, z))

    def refine(
        self, reading: Reading, fine: Float[Tensor, "b h w c"] | None, candidates: Int[Tensor, "b k"]
    ) -> GroundingScores:
        """b and r of given candidates (eq. 41-46)."""
        return self._head.refine(cast(Tensor, reading.tau), reading.coarse, fine, candidates)


class ProbeGrounder(nn.Module):
    """The linear probe as a grounder: coarse logits only."""

    refines, num_candidates = False, 1

    def __init__(self, probe: LinearProbe) -> None:
        super().__init__()
        self.probe = probe

    def forward(self, z: Float[Tensor, "b n v"], fine: Float[Tensor, "b h w c"] | None = None) -> GroundingScores:
        """z (b, tokens, d_vlm) -> scores; R is not read."""
        reading = self.read(z)
        return self.refine(reading, fine, top_candidates(reading.coarse, self.num_candidates))

    def read(self, z: Float[Tensor, "b n v"]) -> Reading:
        """One logit a spatial token."""
        return Reading(None, self.probe(z))

    def refine(
        self,
        reading: Reading,
        fine: Float[Tensor, "b h w c"] | None,  # noqa: ARG002 the interface's
        candidates: Int[Tensor, "b k"],
    ) -> GroundingScores:
        """Nothing to add."""
        return unrefined(reading.coarse, candidates)
