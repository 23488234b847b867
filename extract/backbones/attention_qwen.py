"""Qwen2.5-VL's attention states, through transformers: vision tower once a frame, language model once a query.

Qwen2.5-VL technical report (arXiv 2502.13923). bf16 is the whole model in bfloat16, the type its weights are published
in. Layers behind the last one chosen and the language model's head are dropped.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...pipeline.errors import ConfigError, WeightsError
from ...pipeline.spec import FeatureSpec
from .attention import Cut, Projections, chosen_heads, chosen_layers, keep_layers, stack, watch
from .attention_qwen_config import read_config, weight_files
from .attention_qwen_spec import IMAGE, OPTIONS, describe, split_prompt
from .attention_spec import FEATURES, PADDING, TEMPLATE, WORD
from .base import BackboneKind, FrameBatch
from .weights import find_file, find_tokenizer

__all__ = ["QWEN_ATTENTION", "QwenAttention", "describe", "load"]


class QwenAttention:
    """A Qwen2.5-VL whose language model is read while it runs.

    Args:
        model: transformers' ``Qwen2_5_VLModel``; layers that nothing reads are dropped.
        specs: the features it makes; their ``compute`` says which layers and heads, and with which prompt.
        tokenizer: the checkpoint's.
        device: where to compute.
    """

    def __init__(self, model: Any, specs: Sequence[FeatureSpec], *, tokenizer: Any, device: torch.device) -> None:
        self.specs, self.device, self.tokenizer = tuple(specs), device, tokenizer
        self.text_length: int = specs[0].compute["text"]["max_length"]
        self._before, self._lead, self._tail = (
            tokenizer(part, add_special_tokens=False)["input_ids"] for part in split_prompt(specs[0].compute["prompt"])
        )
        self._heads = chosen_heads(specs)
        self._attentions = keep_layers(model.language_model, chosen_layers(specs))
        self._texts: dict[str, tuple[list[int], list[int]]] = {}
        self.model: Any = model.eval().requires_grad_(False).to(device)

    @torch.inference_mode()
    def encode_frames(self, pixels: Float[Tensor, "b 3 h w"]) -> FrameBatch:
        """No features of frames; the image tokens that queries need, (b, rows, columns, d) of the language model."""
        vision = self.model.config.vision_config
        grid = [side // vision.patch_size for side in pixels.shape[2:]]  # patches; 2 x 2 of them become one token
        patches = to_patches(pixels, vision).to(self.model.dtype)
        grids = torch.tensor([[1, *grid]] * len(pixels), device=pixels.device)
        tokens: Tensor = self.model.visual(patches, grid_thw=grids).pooler_output  # (b cells, d)
        rows, columns = (side // vision.spatial_merge_size for side in grid)
        return FrameBatch({}, tokens.reshape(len(pixels), rows, columns, -1))

    @torch.inference_mode()
    def encode_queries(self, state: Float[Tensor, "q gh gw d"], instructions: Sequence[str]) -> Mapping[str, Tensor]:
        """Attention states of queries: the image tokens of each one's frame, and its instruction.

        Raises:
            ConfigError: an instruction is longer than the text positions.
        """
        texts = [self.encode_text(instruction) for instruction in instructions]
        made = self._states(state, [ids for ids, _ in texts]) if self._attentions else {}
        made["w"] = torch.tensor([kinds for _, kinds in texts], dtype=torch.float32, device=self.device)
        return {spec.name: made[spec.name] for spec in self.specs}

    def encode_text(self, instruction: str) -> tuple[list[int], list[int]]:
        """Ids of the text positions, and what each one is (0 padding, 1 template, 2 instruction).

        Raises:
            ConfigError: the instruction is longer than the text positions.
        """
        if instruction not in self._texts:
            # an instruction that spells a special token is words all the same
            words = self.tokenizer(instruction, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            ids = [*self._lead, *words, *self._tail]
            padding = self.text_length - len(ids)
            if padding < 0:
                raise ConfigError(
                    "an instruction is longer than the text positions",
                    found=f"{instruction!r}: {len(ids)} tokens with the prompt's",
                    expected=f"at most {self.text_length}",
                    remedy=f"use the option text_length {len(ids)}, or a larger one",
                )
            kinds = [TEMPLATE] * len(self._lead) + [WORD] * len(words) + [TEMPLATE] * len(self._tail)
            self._texts[instruction] = ids + [self._padding_id] * padding, kinds + [PADDING] * padding
        return self._texts[instruction]

    @property
    def _padding_id(self) -> int:
        known = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
        return next(token for token in known if token is not None)

    def _states(self, state: Float[Tensor, "q gh gw d"], texts: Sequence[list[int]]) -> dict[str, Tensor]:
        start, cells = len(self._before), state.shape[1] * state.shape[2]
        image, text = slice(start, start + cells), slice(start + cells, None)
        cut = Cut(self._heads, image, text, causal=True)
        ids = self._sequences(texts, cells)
        words = self.model.get_input_embeddings()(ids)  # (q, n, d)
        words[:, image] = state.flatten(1, 2)
        with watch(self._attentions, lambda layer, arguments: cut(self._rotated(layer, arguments))) as layers:
            positions = self._positions(ids[:1], state.shape[1:3]).expand(-1, len(ids), -1)
            self.model.language_model(inputs_embeds=words, position_ids=positions, use_cache=False)
        return stack(layers)

    def _sequences(self, texts: Sequence[list[int]], cells: int) -> Int[Tensor, "q n"]:
        image = [self.model.config.image_token_id] * cells
        return torch.tensor([[*self._before, *image, *text] for text in texts], device=self.device)

    def _positions(self, ids: Int[Tensor, "1 n"], grid: Sequence[int]) -> Int[Tensor, "3 1 n"]:
        """Where every token stands in time, height and width: the same for all queries of a batch."""
        merge = self.model.config.vision_config.spatial_merge_size
        kinds = (ids == self.model.config.image_token_id).int()
        patches = torch.tensor([[1, *(side * merge for side in grid)]], device=self.device)
        positions: Tensor = self.model.get_rope_index(ids, mm_token_type_ids=kinds, image_grid_thw=patches)[0]
        return positions

    def _rotated(self, layer: Projections, arguments: Mapping[str, Any]) -> Projections:
        from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_multimodal_rotary_pos_emb

        cos, sin = arguments["position_embeddings"]
        section = self.model.config.text_config.rope_parameters["mrope_section"]
        q, k = apply_multimodal_rotary_pos_emb(layer.q, layer.k, cos, sin, section)
        return Projections(q, k, layer.v)


def to_patches(pixels: Float[Tensor, "b 3 h w"], vision: Any) -> Float[Tensor, "b*patches values"]:
    """Frames as the vision tower reads them: patches of one merged token side by side, each frame twice in time."""
    patch, merge, time = vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size
    b, channels, height, width = pixels.shape
    rows, columns = height // (patch * merge), width // (patch * merge)
    x = pixels.reshape(b, channels, rows, merge, patch, columns, merge, patch)
    x = x.permute(0, 2, 5, 3, 6, 1, 4, 7)  # (b, rows, columns, merge, merge, c, patch, patch)
    x = x.unsqueeze(6).expand(*x.shape[:6], time, patch, patch)
    return x.reshape(b * rows * columns * merge * merge, channels * time * patch * patch)


def load(
    checkpoint: str,
    specs: Sequence[FeatureSpec],
    *,
    device: torch.device,
    revision: str | None = None,
    hub_cache: Path | None = None,
) -> QwenAttention:
    """Load a Qwen2.5-VL checkpoint with transformers, to read the layers that ``specs`` name.

    Raises:
        WeightsError: files are missing, or the weights or tokenizer do not fit the configuration.
    """
    where: Any = {"revision": revision, "hub_cache": hub_cache}
    config = read_config(checkpoint, **where)
    for name in weight_files(checkpoint, **where):
        find_file(checkpoint, name, **where)
    folder = find_file(checkpoint, "config.json", **where).parent
    tokenizer = _load_tokenizer(find_tokenizer(None, checkpoint, **where), config.image_token)
    half = any(spec.compute.get("dtype") == "bf16" for spec in specs)
    model = _load_model(folder, torch.bfloat16 if half else torch.float32)
    return QwenAttention(model, specs, tokenizer=tokenizer, device=device)


QWEN_ATTENTION = BackboneKind(describe=describe, load=load, features=FEATURES, options=OPTIONS)


def _load_model(folder: Path, dtype: torch.dtype) -> Any:
    from safetensors import SafetensorError
    from transformers import Qwen2_5_VLForConditionalGeneration

    try:
        with torch.random.fork_rng(devices=[]):  # building the network draws initial weights
            whole, said = Qwen2_5_VLForConditionalGeneration.from_pretrained(
                folder, dtype=dtype, attn_implementation="sdpa", use_safetensors=True, output_loading_info=True
            )
        wrong = sorted(name for name in {*said["missing_keys"], *said["unexpected_keys"]} if "lm_head" not in name)
        if wrong:
            raise ValueError(f"missing or unknown: {', '.join(wrong)}")
        return whole.model
    except (OSError, RuntimeError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise WeightsError(
            f"the weights in {folder} do not fit their configuration",
            found=str(error)[:1000],
            expected="the files that save_pretrained wrote beside this config.json",
            remedy="fetch or copy the checkpoint again",
        ) from error


def _load_tokenizer(folder: Path, image_token: int) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"the tokenizer in {folder} does not load", found=str(error)[:1000]) from error
    found = tokenizer.convert_tokens_to_ids(IMAGE)
    if found != image_token:
        raise WeightsError(
            f"the tokenizer in {folder} does not belong to this model",
            found=f"{IMAGE} is token {found}",
            expected=f"token {image_token}, as config.json says",
            remedy="fetch or copy the checkpoint again",
        )
    return tokenizer
