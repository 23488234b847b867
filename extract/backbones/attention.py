"""Reading Q, K and V of a transformer's own attention layers while it runs.

Hooks sit on the projections ``q_proj``, ``k_proj`` and ``v_proj`` of the chosen layers, so what is read is what the
layer computes with, bit for bit; every layer is cut down to the positions and heads asked for before the next one runs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...pipeline.spec import FeatureSpec


class Projections(NamedTuple):
    """One attention layer's projections, split into heads; keys and values may have fewer heads."""

    q: Float[Tensor, "b h n d"]
    k: Float[Tensor, "b g n d"]
    v: Float[Tensor, "b g n d"]


Finish = Callable[[Projections, Mapping[str, Any]], Mapping[str, Tensor]]
"""What becomes of a layer's projections; it also gets the keyword arguments of the layer's forward."""


@dataclass(frozen=True)
class Cut:
    """What is kept of a layer: the rows of image and text, and each feature's heads.

    Args:
        heads: feature (of ``q``, ``k``, ``v``, ``s``) -> its heads; no others are made.
        image: the image's positions.
        text: the text's positions, behind the image.
        causal: whether a position attends only to itself and what comes before it.
    """

    heads: Mapping[str, tuple[int, ...]]
    image: slice
    text: slice
    causal: bool

    def __call__(self, layer: Projections) -> dict[str, Tensor]:
        """Feature -> (b, heads, positions, d) or, for ``s``, (b, heads, text); all float32."""
        rows = {"q": layer.q[:, :, self.text], "k": layer.k[:, :, self.image], "v": layer.v[:, :, self.image]}
        kept = {name: rows[name][:, list(heads)].float() for name, heads in self.heads.items() if name in rows}
        if "s" in self.heads:
            kept["s"] = self._share(layer, list(self.heads["s"]))
        return kept

    def _share(self, layer: Projections, heads: list[int]) -> Float[Tensor, "b h t"]:
        group = layer.q.shape[1] // layer.k.shape[1]
        q = layer.q[:, heads][:, :, self.text]
        return image_share(q, layer.k[:, [head // group for head in heads]], self.image, causal=self.causal)


def image_share(
    q: Float[Tensor, "b h t d"], k: Float[Tensor, "b h n d"], image: slice, *, causal: bool
) -> Float[Tensor, "b h t"]:
    """How much of its attention each of the last t positions gives to the image.

    s_t = Σ_{i in image} softmax_j(q_t · k_j / √d)_i, in float32; j runs over all n positions, or up to t if causal.
    """
    with torch.autocast(q.device.type, enabled=False):
        scores = q.float() @ k.float().transpose(-1, -2) * q.shape[-1] ** -0.5  # (b, h, t, n)
        if causal:
            t, n = scores.shape[-2:]
            later = torch.ones(t, n, dtype=torch.bool, device=q.device).triu(n - t + 1)
            scores = scores.masked_fill(later, float("-inf"))
        return scores.softmax(dim=-1)[..., image].sum(dim=-1)


@contextmanager
def watch(attentions: Sequence[nn.Module], finish: Finish) -> Iterator[list[Mapping[str, Tensor]]]:
    """While open, every forward of one of the layers appends ``finish(its projections, its keyword arguments)``."""
    taken: list[Mapping[str, Tensor]] = []
    handles = [handle for attention in attentions for handle in _hook(attention, finish, taken)]
    try:
        yield taken
    finally:
        for handle in handles:
            handle.remove()


def stack(layers: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Feature -> (b, layers, …) of what one forward of every chosen layer gave."""
    names = layers[0] if layers else ()
    return {name: torch.stack([layer[name] for layer in layers], dim=1) for name in names}


def chosen_layers(specs: Sequence[FeatureSpec]) -> tuple[int, ...]:
    """The layers that specs described together ask for; none if they only ask what the text positions are."""
    asked = {tuple(spec.compute["layers"]) for spec in specs if "layers" in spec.compute}
    if len(asked) > 1:
        raise ValueError(f"attention states of one pass have the same layers, not {sorted(asked)}")
    return asked.pop() if asked else ()


def chosen_heads(specs: Sequence[FeatureSpec]) -> dict[str, tuple[int, ...]]:
    """Feature -> the heads that specs ask for."""
    return {spec.name: tuple(spec.compute["heads"]) for spec in specs if "heads" in spec.compute}


def keep_layers(encoder: Any, layers: Sequence[int]) -> list[nn.Module]:
    """Drop the layers behind the last chosen one, which nothing reads; the attention modules of the chosen ones."""
    encoder.layers = encoder.layers[: max(layers, default=-1) + 1].train(encoder.training)  # a slice forgets it
    return [encoder.layers[at].self_attn for at in layers]


def _hook(attention: Any, finish: Finish, taken: list[Mapping[str, Tensor]]) -> list[Any]:
    seen: dict[str, Tensor] = {}

    def record(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _module, _inputs, output: seen.update({name: _heads(output, attention.head_dim)})

    def end(_module: nn.Module, _args: Any, kwargs: Mapping[str, Any], _output: Any) -> None:
        taken.append(finish(Projections(**seen), kwargs))
        seen.clear()

    handles = [getattr(attention, f"{name}_proj").register_forward_hook(record(name)) for name in Projections._fields]
    return [*handles, attention.register_forward_hook(end, with_kwargs=True)]


def _heads(projected: Tensor, width: int) -> Float[Tensor, "b h n d"]:
    return projected.reshape(*projected.shape[:2], -1, width).transpose(1, 2)  # (b, n, h d) -> (b, h, n, d)
