"""X-VLA through LeRobot's own class: Z and R out of one pass of the vision tower.

Soft-prompted transformer as scalable cross-embodiment VLA (X-VLA, arXiv 2510.10274); the vision-language half is
Florence-2 (arXiv 2311.06242): DaViT, a projector, a BART encoder over [image tokens, text tokens]. The action
transformer (a third of the memory) is dropped after loading; proprioception, domain and actions come after Z.
R alone needs none of this: then the vision tower alone is loaded (see :mod:`.davit`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...pipeline.errors import WeightsError
from ...pipeline.spec import FeatureSpec
from . import davit
from .base import BackboneKind, FrameBatch
from .frozen import Precision, channels_last, output_of
from .weights import find_file, find_tokenizer
from .xvla_spec import CHECKPOINT, FEATURES, STAGE, WEIGHTS, TextInput, describe, layer_of, read_config, read_text_input

__all__ = ["XVLA", "XVLABackbone", "describe", "load"]


class XVLABackbone:
    """The frozen vision-language half of an X-VLA policy on one device.

    Args:
        vlm: the policy's Florence-2 model.
        specs: the features it makes; their ``compute["dtype"]`` is the compute type.
        text: how instructions become ids, by ``tokenizer``.
    """

    def __init__(
        self, vlm: nn.Module, specs: Sequence[FeatureSpec], *, device: torch.device, text: TextInput, tokenizer: Any
    ) -> None:
        self.specs, self.device, self.text, self.tokenizer = tuple(specs), device, text, tokenizer
        self._layers = {spec.name: layer_of(spec.name) for spec in specs if spec.per == "query"}
        self._wants_map = any(spec.name == "r" for spec in specs)
        self._ids: dict[str, Tensor] = {}
        self._precision = Precision(specs, device)
        self.vlm: Any = vlm
        self._precision.freeze(vlm)

    @torch.inference_mode()
    def encode_images(
        self, pixels: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b 1+cells d"], Float[Tensor, "b gh gw c"]]:
        """Projected image tokens (before fusion) and R, from one pass of the vision tower; both float32."""
        with self._precision.autocast(), output_of(self.vlm.vision_tower.blocks[STAGE][-1]) as maps:
            tokens = self.vlm.get_image_features(pixels).pooler_output  # (b, 1 + cells, d)
        return tokens.float(), channels_last(maps[0])

    def encode_text(self, instructions: Sequence[str]) -> Int[Tensor, "b l"]:
        """Token ids, always ``text.max_length`` of them, padded and truncated as the checkpoint's preprocessor does."""
        for instruction in instructions:
            if instruction not in self._ids:
                encoded = self.tokenizer(
                    instruction,
                    max_length=self.text.max_length,
                    truncation=self.text.truncation,
                    padding="max_length",
                    padding_side=self.text.padding_side,
                    return_tensors="pt",
                )
                self._ids[instruction] = encoded["input_ids"][0]
        return torch.stack([self._ids[instruction] for instruction in instructions]).to(self.device)

    def fuse(self, tokens: Float[Tensor, "b 1+cells d"], ids: Int[Tensor, "b l"]) -> Float[Tensor, "b n d"]:
        """Z (float32): the language encoder over [image tokens, text embeddings], everything attended."""
        return self.fuse_layers(tokens, ids, (None,))[0]

    @torch.inference_mode()
    def fuse_layers(
        self, tokens: Float[Tensor, "b 1+cells d"], ids: Int[Tensor, "b l"], layers: Sequence[int | None]
    ) -> list[Float[Tensor, "b n d"]]:
        """The sequence after each of ``layers`` (0: what enters the first; None: the last), float32, from one pass."""
        with self._precision.autocast():
            words = self.vlm.get_input_embeddings()(ids)  # (b, l, d)
            merged = torch.cat([tokens, words], dim=1)  # (b, 1 + cells + l, d)
            mask = torch.ones(merged.shape[:2], dtype=torch.long, device=merged.device)
            early = any(layer is not None for layer in layers)
            out = self.vlm.language_model.encoder(attention_mask=mask, inputs_embeds=merged, output_hidden_states=early)
        return [(out[0] if layer is None else out.hidden_states[layer]).float() for layer in layers]

    def encode_frames(self, pixels: Float[Tensor, "b 3 h w"]) -> FrameBatch:
        """R of a batch of frames if asked for, and the projected tokens its queries need."""
        tokens, r = self.encode_images(pixels)
        return FrameBatch({"r": r} if self._wants_map else {}, tokens)

    def encode_queries(self, state: Float[Tensor, "q n d"], instructions: Sequence[str]) -> Mapping[str, Tensor]:
        """Z of queries, after every layer asked for: each one's projected tokens, and its instruction."""
        fused = self.fuse_layers(state, self.encode_text(instructions), tuple(self._layers.values()))
        return dict(zip(self._layers, fused, strict=True))


def load(
    checkpoint: str,
    specs: Sequence[FeatureSpec],
    *,
    device: torch.device,
    revision: str | None = None,
    hub_cache: Path | None = None,
) -> XVLABackbone | davit.DaViTBackbone:
    """Load an X-VLA checkpoint with LeRobot's own loading code and keep what ``specs`` need.

    Raises:
        WeightsError: files are missing, or the weights do not fit the configuration.
    """
    where: Any = {"revision": revision, "hub_cache": hub_cache}
    if all(spec.per == "frame" for spec in specs):
        return davit.load(checkpoint, specs, device=device, **where)
    read_config(checkpoint, **where)
    folder = find_file(checkpoint, WEIGHTS, **where).parent
    vlm = _load_vlm(folder)
    text = read_text_input(checkpoint, **where)
    tokenizer = _load_tokenizer(find_tokenizer(text.tokenizer_name, checkpoint, **where))
    return XVLABackbone(vlm, specs, device=device, text=text, tokenizer=tokenizer)


XVLA = BackboneKind(describe=describe, load=load, features=FEATURES, checkpoint=CHECKPOINT, usual=("z", "r"))


def _load_vlm(folder: Path) -> Any:
    from lerobot.configs import PreTrainedConfig
    from lerobot.policies.xvla.modeling_xvla import XVLAPolicy
    from safetensors import SafetensorError

    try:
        with torch.random.fork_rng(devices=[]):  # building the network draws initial weights
            config = PreTrainedConfig.from_pretrained(folder)
            config.device, config.dtype = "cpu", "float32"
            return XVLAPolicy.from_pretrained(folder, config=config).model.vlm
    except (RuntimeError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise WeightsError(
            f"the weights in {folder} do not fit their configuration",
            found=str(error)[:1000],
            expected="the file that XVLAPolicy.save_pretrained wrote beside this config.json",
            remedy="fetch or copy the checkpoint again",
        ) from error


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"the tokenizer in {folder} does not load", found=str(error)[:1000]) from error
