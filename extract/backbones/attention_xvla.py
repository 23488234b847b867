"""The attention states of X-VLA's language encoder: the vision tower once a frame, the encoder once a query."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...pipeline.spec import FeatureSpec
from . import xvla
from .attention import Cut, chosen_heads, chosen_layers, keep_layers, stack, watch
from .attention_spec import FEATURES, OPTIONS
from .attention_xvla_spec import describe, fused
from .base import BackboneKind, FrameBatch

__all__ = ["XVLA_ATTENTION", "XVLAAttention", "describe", "load"]


class XVLAAttention:
    """An X-VLA whose language encoder is read while it runs.

    Args:
        network: the frozen vision-language half, with its language encoder; layers that nothing reads are dropped.
        specs: the features it makes; their ``compute`` says which layers and heads.
    """

    def __init__(self, network: xvla.XVLABackbone, specs: Sequence[FeatureSpec]) -> None:
        self.specs, self.device = tuple(specs), network.device
        self._network, self._heads = network, chosen_heads(specs)
        self._attentions = keep_layers(network.vlm.language_model.encoder, chosen_layers(specs))
        self._kinds: dict[str, Tensor] = {}

    def encode_frames(self, pixels: Float[Tensor, "b 3 h w"]) -> FrameBatch:
        """No features of frames; the projected image tokens that queries need."""
        return FrameBatch({}, self._network.encode_frames(pixels).state)

    @torch.inference_mode()
    def encode_queries(self, state: Float[Tensor, "q n d"], instructions: Sequence[str]) -> Mapping[str, Tensor]:
        """Attention states of queries: the projected tokens of each one's frame, and its instruction."""
        made: dict[str, Tensor] = {}
        if self._attentions:
            image, text = slice(0, state.shape[1]), slice(state.shape[1], None)
            cut = Cut(self._heads, image, text, causal=False)
            with watch(self._attentions, lambda layer, _arguments: cut(layer)) as layers:
                self._network.fuse(state, self._network.encode_text(instructions))
            made = stack(layers)
        made["w"] = torch.stack([self._kind(instruction) for instruction in instructions]).to(self.device)
        return {spec.name: made[spec.name] for spec in self.specs}

    def _kind(self, instruction: str) -> Float[Tensor, " t"]:
        """What each text position is: 0 padding, 1 special, 2 a word of the instruction."""
        if instruction not in self._kinds:
            text = self._network.text
            assert text is not None  # the language encoder is loaded with its text input
            encoded = self._network.tokenizer(
                instruction,
                max_length=text.max_length,
                truncation=text.truncation,
                padding="max_length",
                padding_side=text.padding_side,
                return_special_tokens_mask=True,
                return_tensors="pt",
            )
            self._kinds[instruction] = (encoded["attention_mask"] * (2 - encoded["special_tokens_mask"]))[0].float()
        return self._kinds[instruction]


def load(
    checkpoint: str,
    specs: Sequence[FeatureSpec],
    *,
    device: torch.device,
    revision: str | None = None,
    hub_cache: Path | None = None,
) -> XVLAAttention:
    """Load an X-VLA checkpoint with LeRobot's own loading code, to read the layers that ``specs`` name.

    Raises:
        WeightsError: files are missing, or the weights do not fit the configuration.
    """
    most = max(specs, key=lambda spec: len(spec.compute))  # `w` says nothing of the network
    network: Any = xvla.load(checkpoint, [fused(most)], device=device, revision=revision, hub_cache=hub_cache)
    return XVLAAttention(network, specs)


XVLA_ATTENTION = BackboneKind(describe=describe, load=load, features=FEATURES, options=OPTIONS)
