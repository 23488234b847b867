"""X-VLA through LeRobot's own class: Z and R out of one pass of the vision tower.

Soft-prompted transformer as scalable cross-embodiment VLA (X-VLA, arXiv 2510.10274); the vision-language half is
Florence-2 (arXiv 2311.06242): DaViT, a projector, a BART encoder over [image tokens, text tokens]. The action
transformer (a third of the memory) is dropped after loading; proprioception, domain and actions come after Z.

bf16 is autocast, so that norms, softmax and sums keep the precision PyTorch gives them; the weights that autocast
would round at every call (linear and convolution layers) are rounded once instead: same numbers, half the memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...pipeline.errors import WeightsError
from ...pipeline.spec import FeatureSpec
from .base import BackboneKind, FrameBatch
from .weights import find_file, find_tokenizer
from .xvla_spec import FEATURES, STAGE, WEIGHTS, TextInput, describe, read_config, read_text_input

__all__ = ["XVLA", "XVLABackbone", "describe", "load"]


class XVLABackbone:
    """The frozen vision-language half of an X-VLA policy on one device.

    Args:
        vlm: the policy's Florence-2 model (without ``language_model`` if only R is wanted).
        specs: the features it makes; their ``compute["dtype"]`` is the compute type.
        text: how instructions become ids; with ``tokenizer`` None if only R is wanted.
    """

    def __init__(
        self,
        vlm: nn.Module,
        specs: Sequence[FeatureSpec],
        *,
        device: torch.device,
        text: TextInput | None = None,
        tokenizer: Any = None,
    ) -> None:
        self.specs, self.device, self.text, self.tokenizer = tuple(specs), device, text, tokenizer
        self._names = {spec.name for spec in specs}
        self._half = any(spec.compute["dtype"] == "bf16" for spec in specs)
        self._ids: dict[str, Tensor] = {}
        self.vlm: Any = vlm.eval().requires_grad_(False)
        if self._half:
            _round_weights(self.vlm)
        self.vlm.to(device)

    @torch.inference_mode()
    def encode_images(
        self, pixels: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b 1+cells d"], Float[Tensor, "b gh gw c"]]:
        """Projected image tokens (before fusion) and R, from one pass of the vision tower; both float32."""
        with self._autocast(), _output_of(self.vlm.vision_tower.blocks[STAGE][-1]) as maps:
            tokens = self.vlm.get_image_features(pixels).pooler_output  # (b, 1 + cells, d)
        return tokens.float(), _channels_last(maps[0])

    @torch.inference_mode()
    def encode_map(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b gh gw c"]:
        """R alone: the same tower pass without projector and language encoder, the same numbers."""
        with self._autocast(), _output_of(self.vlm.vision_tower.blocks[STAGE][-1]) as maps:
            self.vlm.vision_tower(pixels)
        return _channels_last(maps[0])

    def encode_text(self, instructions: Sequence[str]) -> Int[Tensor, "b l"]:
        """Token ids, always ``text.max_length`` of them, padded and truncated as the checkpoint's preprocessor does."""
        if self.text is None or self.tokenizer is None:
            raise ValueError("loaded for R alone: no tokenizer")
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

    @torch.inference_mode()
    def fuse(self, tokens: Float[Tensor, "b 1+cells d"], ids: Int[Tensor, "b l"]) -> Float[Tensor, "b n d"]:
        """Z (float32): the language encoder over [image tokens, text embeddings], everything attended."""
        with self._autocast():
            words = self.vlm.get_input_embeddings()(ids)  # (b, l, d)
            merged = torch.cat([tokens, words], dim=1)  # (b, 1 + cells + l, d)
            mask = torch.ones(merged.shape[:2], dtype=torch.long, device=merged.device)
            z: Tensor = self.vlm.language_model.encoder(attention_mask=mask, inputs_embeds=merged)[0]
        return z.float()

    def encode_frames(self, pixels: Float[Tensor, "b 3 h w"]) -> FrameBatch:
        """R of a batch of frames, and the projected tokens its queries need."""
        if "z" not in self._names:
            return FrameBatch({"r": self.encode_map(pixels)}, None)
        tokens, r = self.encode_images(pixels)
        return FrameBatch({"r": r} if "r" in self._names else {}, tokens)

    def encode_queries(self, state: Float[Tensor, "q n d"], instructions: Sequence[str]) -> Mapping[str, Tensor]:
        """Z of queries: the projected tokens of each one's frame, and its instruction."""
        return {"z": self.fuse(state, self.encode_text(instructions))}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._half)


def load(
    checkpoint: str,
    specs: Sequence[FeatureSpec],
    *,
    device: torch.device,
    revision: str | None = None,
    hub_cache: Path | None = None,
) -> XVLABackbone:
    """Load an X-VLA checkpoint with LeRobot's own loading code and keep what ``specs`` need.

    Raises:
        WeightsError: files are missing, or the weights do not fit the configuration.
    """
    where: Any = {"revision": revision, "hub_cache": hub_cache}
    read_config(checkpoint, **where)
    folder = find_file(checkpoint, WEIGHTS, **where).parent
    vlm = _load_vlm(folder)
    if all(spec.name != "z" for spec in specs):
        del vlm.language_model
        return XVLABackbone(vlm, specs, device=device)
    text = read_text_input(checkpoint, **where)
    tokenizer = _load_tokenizer(find_tokenizer(text.tokenizer_name, checkpoint, **where))
    return XVLABackbone(vlm, specs, device=device, text=text, tokenizer=tokenizer)


XVLA = BackboneKind(describe=describe, load=load, features=FEATURES)


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


def _round_weights(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            layer.to(torch.bfloat16)


def _channels_last(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1).float().contiguous()  # (b, c, gh, gw) -> (b, gh, gw, c)


@contextmanager
def _output_of(module: nn.Module) -> Iterator[list[Tensor]]:
    outputs: list[Tensor] = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()
