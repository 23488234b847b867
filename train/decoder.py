"""The Visual-Thought decoder f_psi: frozen VLM tokens in, M learned tokens out (paper, eq. 10-18)."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..pipeline.errors import ConfigError
from .positions import grid_code


class Attention(nn.Module):
    """Multi-head scaled-dot-product attention with biased query, key, value and output projections::

        O_h = softmax(Q_h K_hᵀ / sqrt(e)) V_h
        Q_h = X W_q,hᵀ + b_q,h     K_h = C W_k,hᵀ + b_k,h     V_h = C W_v,hᵀ + b_v,h

    Few queries (h m <= d) are multiplied by W_k and W_v themselves, so that the context never is: Q_h K_hᵀ is
    (Q_h W_k,h) Cᵀ but for a term that softmax cancels, and softmax(·) V_h is (softmax(·) C) W_v,hᵀ + b_v,h.

    Args:
        dim: width d of queries and context; must be divisible by ``num_heads``.
        num_heads: number of heads h, each of width e = d / h.
        dropout: dropout on the attention weights; the value bias b_v is not dropped.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % num_heads:
            raise ConfigError(
                "the attention width must be divisible by its number of heads",
                found=f"dim {dim}, {num_heads} heads",
                remedy="choose a dim that is a multiple of the number of heads",
            )
        self.dim, self.num_heads, self.dropout = dim, num_heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(
        self,
        queries: Float[Tensor, "b m d"],
        context: Float[Tensor, "b n d"],
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b m d"]:
        """Attend from every query over the context tokens whose ``mask`` is true (all, without one)."""
        q = self._split(self.query(queries))  # (b, h, m, e)
        few = self.num_heads * queries.shape[1] <= self.dim
        heads = self._few(q, context, mask) if few else self._many(q, context, mask)  # (b, h, m, e)
        joined = heads.transpose(1, 2).flatten(2) + self.value.bias  # (b, m, d)
        return cast(Tensor, self.out(joined))  # (b, m, d)

    def _many(
        self, q: Float[Tensor, "b h m e"], context: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None
    ) -> Float[Tensor, "b h m e"]:
        k = self._split(self.key(context))  # (b, h, n, e)
        v = self._split(F.linear(context, self.value.weight))  # (b, h, n, e)
        return self._attend(q, k, v, mask)

    def _few(
        self, q: Float[Tensor, "b h m e"], context: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None
    ) -> Float[Tensor, "b h m e"]:
        to_key, to_value = (layer.weight.view(self.num_heads, -1, self.dim) for layer in (self.key, self.value))
        wide = torch.einsum("bhme,hed->bhmd", q, to_key).flatten(1, 2)  # (b, h m, d)
        tokens = context[:, None]  # (b, 1, n, d): all heads are queries of one wide head
        seen = self._attend(wide[:, None], tokens, tokens, mask)[:, 0]  # (b, h m, d)
        return torch.einsum("bhmd,hed->bhme", seen.unflatten(1, (self.num_heads, -1)), to_value)  # (b, h, m, e)

    def _attend(
        self,
        q: Float[Tensor, "b h m e"],
        k: Float[Tensor, "b h n e"],
        v: Float[Tensor, "b h n f"],
        mask: Bool[Tensor, "b n"] | None,
    ) -> Float[Tensor, "b h m f"]:
        allowed = None if mask is None else mask[:, None, None, :]  # (b, 1, 1, n)
        dropout, scale = self.dropout if self.training else 0.0, (self.dim // self.num_heads) ** -0.5
        return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=dropout, scale=scale)

    def _split(self, tokens: Float[Tensor, "b t d"]) -> Float[Tensor, "b h t e"]:
        return tokens.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """FFN(x) = W_2 GELU(W_1 x + b_1) + b_2, hidden width ``ratio * dim`` (the FFN of eq. 17)."""

    def __init__(self, dim: int, ratio: float, dropout: float = 0.0) -> None:
        super().__init__()
        hidden = int(ratio * dim)
        self.inner, self.outer, self.drop = nn.Linear(dim, hidden), nn.Linear(hidden, dim), nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "b m d"]) -> Float[Tensor, "b m d"]:
        """(b, m, d) -> (b, m, d)."""
        return cast(Tensor, self.drop(self.outer(self.drop(F.gelu(self.inner(x))))))


class TokenProjection(nn.Module):
    """Z~ = Z W_sᵀ + b_s + GELU(LN(Z) W_1ᵀ + b_1) W_2ᵀ + b_2   (paper, eq. 12).

    *Symbols*: W_s (D_T, D_VLM) the linear skip, W_1 (4 D_VLM, D_VLM), W_2 (D_T, 4 D_VLM).
    The hidden width 4 D_VLM follows from the paper's parameter counts. [open] dropout on the GELU branch's output.
    """

    def __init__(self, d_vlm: int, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.skip, self.norm = nn.Linear(d_vlm, dim), nn.LayerNorm(d_vlm)
        self.inner, self.outer, self.drop = nn.Linear(d_vlm, 4 * d_vlm), nn.Linear(4 * d_vlm, dim), nn.Dropout(dropout)

    def forward(self, z: Float[Tensor, "b n v"]) -> Float[Tensor, "b n d"]:
        """(b, n, d_vlm) -> (b, n, dim)."""
        hidden = F.gelu(self.inner(self.norm(z)))  # (b, n, 4 d_vlm)
        return cast(Tensor, self.skip(z) + self.drop(self.outer(hidden)))  # (b, n, dim)


class DecoderLayer(nn.Module):
    """One refinement of the queries (paper, eq. 15-17)::

        Q̄ = Q + SelfAttn(LN(Q))              eq. 15, pre-norm
        U = Q̄ + CrossAttn(Q̄, Z~, Z~)         eq. 16, no norm on either side
        Q' = U + g FFN(LN(U))                eq. 17, g = 1, or tanh of a learned scalar that starts at 0

    *We differ*: the gate g (Flamingo's) is an option and off by default.
    """

    def __init__(self, dim: int, num_heads: int, ffn_ratio: float, dropout: float, ffn_gate: bool) -> None:
        super().__init__()
        self.self_norm, self.self_attention = nn.LayerNorm(dim), Attention(dim, num_heads, dropout)
        self.cross_attention = Attention(dim, num_heads, dropout)
        self.ffn_norm, self.ffn = nn.LayerNorm(dim), FeedForward(dim, ffn_ratio, dropout)
        self.gate = nn.Parameter(torch.zeros(())) if ffn_gate else None

    def forward(self, q: Float[Tensor, "b m d"], z: Float[Tensor, "b n d"]) -> Float[Tensor, "b m d"]:
        """Queries (b, m, d) read the projected tokens (b, n, d) and come back refined (b, m, d)."""
        normed = self.self_norm(q)
        q_bar = q + self.self_attention(normed, normed)
        u = q_bar + self.cross_attention(q_bar, z)
        update = self.ffn(self.ffn_norm(u))
        return cast(Tensor, u + (update if self.gate is None else torch.tanh(self.gate) * update))


class VisualThoughtDecoder(nn.Module):
    """T = f_psi(Z): M learned queries read the frozen token sequence through L layers (paper, eq. 10-18).

    The sizes reproduce the paper's parameter counts exactly (tables 1 and 2, and table 3 per layer).

    Args:
        d_vlm: channels of the VLM's tokens (D_VLM).
        dim: channels of the visual-thought tokens (D_T); divisible by ``num_heads``.
        num_queries: number of visual-thought tokens (M).
        num_layers: number of decoder layers (L).
        num_heads: heads of both attentions; 32 in the paper's table 1, [open] elsewhere.
        ffn_ratio: hidden width of the FFN over ``dim``.
        dropout: in attention weights, FFN and token projection [open].
        query_positions: adds a second learned (M, dim) table to the queries (table 1's counts contain one).
        query_grid: (rows, columns) of the cells that the last rows * columns queries stand for, row-major; their second
            table starts as the cells' fixed code instead of as noise. [open]; cross-attention finds its way sooner.
        ffn_gate: a zero-initialised tanh gate on the FFN branch of every layer.

    Raises:
        ConfigError: ``dim`` is not divisible by ``num_heads``, or ``query_grid`` has no table or too many cells.
    """

    def __init__(
        self,
        d_vlm: int,
        dim: int,
        num_queries: int,
        num_layers: int,
        *,
        num_heads: int = 32,
        ffn_ratio: float = 4.0,
        dropout: float = 0.0,
        query_positions: bool = False,
        query_grid: Sequence[int] | None = None,
        ffn_gate: bool = False,
    ) -> None:
        super().__init__()
        self.project = TokenProjection(d_vlm, dim, dropout)
        self.queries = nn.Parameter(torch.empty(num_queries, dim))
        self.query_positions = nn.Parameter(torch.empty(num_queries, dim)) if query_positions else None
        self.layers = nn.ModuleList(
            DecoderLayer(dim, num_heads, ffn_ratio, dropout, ffn_gate) for _ in range(num_layers)
        )
        for table in (self.queries, self.query_positions):
            if table is not None:
                nn.init.normal_(table, std=0.02)  # [open]
        if query_grid is not None:
            self._start_at(*query_grid)

    def forward(self, z: Float[Tensor, "b n v"]) -> Float[Tensor, "b m d"]:
        """Frozen tokens (b, n, d_vlm) to visual-thought tokens (b, m, dim)."""
        tokens = self.project(z)  # (b, n, dim)
        bank = self.queries if self.query_positions is None else self.queries + self.query_positions  # (m, dim)
        q = bank.expand(z.shape[0], -1, -1)  # (b, m, dim)
        for layer in self.layers:
            q = layer(q, tokens)  # (b, m, dim)
        return q

    def _start_at(self, rows: int, columns: int) -> None:
        table, cells = self.query_positions, rows * columns
        if table is None or not 0 < cells <= len(table):
            raise ConfigError(
                "the queries cannot start at the cells of a grid",
                found=[
                    f"query_grid [{rows}, {columns}]",
                    f"{len(self.queries)} queries",
                    f"query_positions {table is not None}",
                ],
                expected="query_positions true, and at least as many queries as cells",
                remedy="set decoder.query_grid to null",
            )
        with torch.no_grad():
            table[-cells:] = grid_code(rows, columns, table.shape[1])
