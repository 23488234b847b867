"""The grounding head: score the coarse cells by one query, refine the best on a finer map (paper, eq. 35-46)."""

import math
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...pipeline.config import refuse_outside
from ...pipeline.errors import ConfigError
from ...pipeline.spec import TokenLayout
from ..decoder import Attention
from ..positions import grid_code
from .neighbourhood import Neighbourhood
from .scores import GroundingScores, combine, top_candidates, unrefined


@dataclass(frozen=True)
class GroundingShapes:
    """The shapes a grounding head is built for, read off the features' specs.

    Args:
        dim: channels of the visual-thought token (D_T).
        d_vlm: channels of Z.
        layout: where Z's spatial tokens lie.
        d_fine: channels of the refinement map R; None to leave refinement out.
        fine_grid: rows and columns of R, each a whole multiple of Z's.
        input_size: height and width of the network input, in pixels.
    """

    dim: int
    d_vlm: int
    layout: TokenLayout
    d_fine: int | None
    fine_grid: tuple[int, int] | None
    input_size: tuple[int, int]


@dataclass(frozen=True)
class GroundingHeadConfig:
    """The ``head`` section of a grounding recipe."""

    name: str = "ground"
    """Which head, by its name in the registry."""
    dim: int = 384
    """Width D_G of the grounding space; [open] in the paper, whose parameter counts leave 372-390."""
    candidates: int = 5
    """K, the coarse cells that are refined (eq. 40); [open]. More than the grid holds means all."""
    refine: bool = True
    """Refine the candidates on R (eq. 39-46); without it the coarse logits alone decide and R is not read."""
    num_heads: int = 8
    """Heads of the local cross attention (eq. 43); [open]."""
    dropout: float = 0.0
    """Dropout on the weights of the local cross attention; [open]."""

    def __post_init__(self) -> None:
        counts = dict.fromkeys(("dim", "candidates", "num_heads"), (1, math.inf))
        refuse_outside("head", self, counts | {"dropout": (0, 1)})


class Head(Protocol):
    """What the grounding task asks of a head; :class:`GroundingHead` is one."""

    refines: bool
    num_candidates: int

    def coarse(self, tau: Float[Tensor, "b d"], z: Float[Tensor, "b n v"]) -> Float[Tensor, "b cells"]:
        """One relevance logit a coarse cell."""

    def refine(
        self,
        tau: Float[Tensor, "b d"],
        coarse: Float[Tensor, "b cells"],
        fine: Float[Tensor, "b h w c"] | None,
        candidates: Int[Tensor, "b k"],
    ) -> GroundingScores:
        """Score the candidates; :func:`unrefined` serves heads that have nothing to add."""


class Projection(nn.Module):
    """g(x) = W LN(x) + b: layer normalisation, then a linear map (the g of eq. 35, 36, 41, 42).

    The paper says so for g_q and g_k; for g_R and g_r it is [open] and the same.
    """

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(d_in), nn.Linear(d_in, d_out)

    def forward(self, x: Float[Tensor, "*t i"]) -> Float[Tensor, "*t o"]:
        """(…, d_in) -> (…, d_out)."""
        return cast(Tensor, self.linear(self.norm(x)))


class CoarseScorer(nn.Module):
    """a_j = g_q(tau) · g_k(z_j + e_j) / sqrt(D_G) for every spatial token j (paper, eq. 35-37)."""

    code: Tensor

    def __init__(self, shapes: GroundingShapes, dim: int) -> None:
        super().__init__()
        self.layout = shapes.layout
        self.to_query, self.to_key = Projection(shapes.dim, dim), Projection(shapes.d_vlm, dim)
        self.register_buffer("code", grid_code(*shapes.layout.grid, shapes.d_vlm), persistent=False)  # (cells, v)

    def forward(self, tau: Float[Tensor, "b d"], z: Float[Tensor, "b n v"]) -> Float[Tensor, "b cells"]:
        """tau (b, dim), z (b, tokens, d_vlm) -> logits (b, cells)."""
        q = self.to_query(tau)  # (b, g)
        k = self.to_key(spatial_tokens(z, self.layout) + self.code)  # (b, cells, g)
        return torch.einsum("bg,bjg->bj", q, k) / math.sqrt(q.shape[-1])  # (b, cells)


class LocalRefiner(nn.Module):
    """Score the fine positions inside candidate cells (paper, eq. 41-44)::

        H = g_R(R_loc + e)                           eq. 41, R_loc: the cell's block plus one ring
        q = g_r(tau)                                 eq. 42
        q̄ = LN(q + W_R CrossAttn(q, H, H))           eq. 43
        r_u = q̄ · h_u / sqrt(D_G)                    eq. 44, u: the cell's own block only

    *We differ*: e, a fixed code of the position relative to the cell, is [open]; without one, positions of equal
    content could not be told apart. Positions beyond the border repeat the edge and are masked in the attention.
    """

    code: Tensor

    def __init__(self, shapes: GroundingShapes, config: GroundingHeadConfig, around: Neighbourhood) -> None:
        super().__init__()
        d_fine = cast(int, shapes.d_fine)
        self.around = around
        self.to_key, self.to_query = Projection(d_fine, config.dim), Projection(shapes.dim, config.dim)
        self.attention = Attention(config.dim, config.num_heads, config.dropout)
        self.mix, self.norm = nn.Linear(config.dim, config.dim, bias=False), nn.LayerNorm(config.dim)
        self.register_buffer("code", grid_code(*around.window, d_fine), persistent=False)  # (s, c)

    def forward(
        self, tau: Float[Tensor, "b d"], fine: Float[Tensor, "b h w c"], candidates: Int[Tensor, "b k"]
    ) -> Float[Tensor, "b k u"]:
        """tau (b, dim), R (b, h, w, c), candidate cells (b, k) -> scores (b, k, u)."""
        local, valid = self.around(fine, candidates)  # (b, k, s, c), (b, k, s)
        keys = self.to_key((local + self.code).flatten(0, 1))  # (b k, s, g)
        query = self.to_query(tau).repeat_interleave(candidates.shape[1], dim=0)  # (b k, g)
        seen = self.attention(query[:, None], keys, valid.flatten(0, 1))[:, 0]  # (b k, g)
        query = self.norm(query + self.mix(seen))  # (b k, g)
        own = keys[:, self.around.own]  # (b k, u, g)
        scores = torch.einsum("ng,nug->nu", query, own) / math.sqrt(query.shape[-1])  # (b k, u)
        return scores.view(*candidates.shape, -1)  # (b, k, u)


class GroundingHead(nn.Module):
    """Coarse relevance over Z's grid and refinement of its best cells on R (paper, eq. 35-46).

    Args:
        shapes: channels and grids of tau, Z and R.
        config: width, candidates, heads.

    Raises:
        ConfigError: refinement without R, or R's grid is no whole multiple of Z's.
    """

    def __init__(self, shapes: GroundingShapes, config: GroundingHeadConfig) -> None:
        super().__init__()
        self.scorer = CoarseScorer(shapes, config.dim)
        self.refines = config.refine
        self.num_candidates = min(config.candidates, shapes.layout.cells)
        if config.refine:
            if shapes.d_fine is None or shapes.fine_grid is None:
                raise ConfigError(
                    "refinement needs the feature r", remedy="add `r: r` to features, or set head.refine=false"
                )
            self.refiner = LocalRefiner(shapes, config, Neighbourhood(shapes.layout.grid, shapes.fine_grid))

    def forward(
        self,
        tau: Float[Tensor, "b d"],
        z: Float[Tensor, "b n v"],
        fine: Float[Tensor, "b h w c"] | None = None,
    ) -> GroundingScores:
        """Score a batch as at inference: the candidates are the K best predicted cells, never the true one.

        Args:
            tau: the visual-thought token (b, dim).
            z: VLM tokens (b, tokens, d_vlm).
            fine: R (b, rows, columns, channels); not read without refinement.
        """
        coarse = self.coarse(tau, z)  # (b, cells)
        return self.refine(tau, coarse, fine, top_candidates(coarse, self.num_candidates))

    def coarse(self, tau: Float[Tensor, "b d"], z: Float[Tensor, "b n v"]) -> Float[Tensor, "b cells"]:
        """a (b, cells), eq. 35-38."""
        return cast(Tensor, self.scorer(tau, z))

    def refine(
        self,
        tau: Float[Tensor, "b d"],
        coarse: Float[Tensor, "b cells"],
        fine: Float[Tensor, "b h w c"] | None,
        candidates: Int[Tensor, "b k"],
    ) -> GroundingScores:
        """Score given candidates (b, k) on R, eq. 41-46."""
        if not self.refines:
            return unrefined(coarse, candidates)
        refined = self.refiner(tau, fine, candidates)  # (b, k, u)
        return GroundingScores(coarse, candidates, refined, combine(coarse.gather(1, candidates), refined))


def spatial_tokens(z: Float[Tensor, "b n v"], layout: TokenLayout) -> Float[Tensor, "b cells v"]:
    """Z^I: the spatial tokens of Z, row-major (paper, eq. 7 and 33)."""
    return z[:, layout.prefix : layout.prefix + layout.cells]
