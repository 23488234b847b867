"""What a Qwen2.5-VL checkpoint's JSON files say: vision, language and image processing; no weights, no model class.

Published checkpoints keep the language model's fields at the top of config.json and its rotary embedding under
``rope_scaling``; newer files have ``text_config`` and ``rope_parameters``. Both are read into the same description.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...pipeline.errors import WeightsError
from .weights import find_file, read_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

# transformers' Qwen2_5_VLVisionConfig, Qwen2_5_VLTextConfig and Qwen2VLImageProcessor: a field that is left out
VISION_DEFAULTS: Mapping[str, Any] = {
    "depth": 32,
    "fullatt_block_indexes": [7, 15, 23, 31],
    "hidden_act": "silu",
    "hidden_size": 3584,
    "num_heads": 16,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "window_size": 112,
}
LANGUAGE_DEFAULTS: Mapping[str, Any] = {
    "hidden_act": "silu",
    "hidden_size": 8192,
    "num_attention_heads": 64,
    "num_hidden_layers": 80,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-5,
}
ROPE_THETA = 1_000_000.0
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PIXELS = (56 * 56, 28 * 28 * 1280)
LONGEST_ASPECT = 200  # what transformers refuses to resize


@dataclass(frozen=True)
class QwenConfig:
    """What decides the numbers of a Qwen2.5-VL, besides its weights.

    Args:
        vision: fields of the vision tower, by their names in config.json.
        language: fields of the language model, and its rotary embedding under ``rope``.
        image_token: the id that stands for an image cell in a prompt.
        mean, std: what normalises a frame's channels.
        pixels: the least and the most pixels of a network input.
    """

    vision: Mapping[str, Any]
    language: Mapping[str, Any]
    image_token: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    pixels: tuple[int, int]

    @property
    def cell(self) -> int:
        """Side of the square of input pixels that becomes one token."""
        return int(self.vision["patch_size"] * self.vision["spatial_merge_size"])

    @property
    def head_width(self) -> int:
        """Channels of one head of the language model."""
        return int(self.language["hidden_size"] // self.language["num_attention_heads"])


def read_config(checkpoint: str, *, revision: str | None = None, hub_cache: Path | None = None) -> QwenConfig:
    """Read config.json and the image processor's file.

    Raises:
        WeightsError: a file is missing, is another model's, or describes a network that cannot be.
    """
    config = read_json(checkpoint, "config.json", revision=revision, hub_cache=hub_cache)
    if not isinstance(config, dict) or config.get("model_type") != "qwen2_5_vl":
        raise WeightsError(
            f"{checkpoint} is not a Qwen2.5-VL model",
            found=config.get("model_type", "no model_type") if isinstance(config, dict) else "no JSON object",
            expected="model_type qwen2_5_vl in config.json",
            remedy="give a Qwen2.5-VL checkpoint, or choose the backbone that fits this one",
        )
    given = config.get("text_config") or config
    vision = _with_defaults(config.get("vision_config") or {}, VISION_DEFAULTS)
    language = _with_defaults(given, LANGUAGE_DEFAULTS) | {"rope": _rope(given)}
    _require_attention(checkpoint, given, language, vision)
    image = _read_image_processor(checkpoint, revision=revision, hub_cache=hub_cache)
    return QwenConfig(
        vision=vision,
        language=language,
        image_token=int(config.get("image_token_id", 151655)),
        mean=_three(image.get("image_mean"), MEAN),
        std=_three(image.get("image_std"), STD),
        pixels=_pixels(image),
    )


def fitted_size(frame_size: tuple[int, int], config: QwenConfig) -> tuple[int, int]:
    """The network input (height, width) nearest to a frame's: whole cells, its aspect, no fewer or more pixels.

    Raises:
        WeightsError: the frame is more than 200 times as long as wide, which the model's processor refuses.
    """
    height, width = frame_size
    if max(frame_size) > LONGEST_ASPECT * min(frame_size):
        raise WeightsError("the frame is too long for Qwen2.5-VL", found=f"{height} x {width} pixels")
    least, most = config.pixels
    rows, columns = round(height / config.cell), round(width / config.cell)
    area = config.cell**2 * rows * columns
    if area > most:
        shrink = math.sqrt(height * width / most)
        rows, columns = (max(1, math.floor(side / shrink / config.cell)) for side in frame_size)
    elif area < least:
        grow = math.sqrt(least / (height * width))
        rows, columns = (math.ceil(side * grow / config.cell) for side in frame_size)
    return rows * config.cell, columns * config.cell


def weight_files(checkpoint: str, *, revision: str | None = None, hub_cache: Path | None = None) -> tuple[str, ...]:
    """The names of the checkpoint's safetensors files: one, or the shards that its index lists.

    Raises:
        WeightsError: the index is damaged, or names files outside the checkpoint.
    """
    try:
        find_file(checkpoint, INDEX, revision=revision, hub_cache=hub_cache)
    except WeightsError:
        return (SINGLE,)
    index = read_json(checkpoint, INDEX, revision=revision, hub_cache=hub_cache)
    names = sorted({*index.get("weight_map", {}).values()}) if isinstance(index, dict) else []
    if not names or any(Path(name).name != name or not name.endswith(".safetensors") for name in names):
        raise WeightsError(
            f"{INDEX} of {checkpoint} cannot be used",
            found=names or "no weight_map",
            expected="safetensors files beside it",
            remedy="fetch or copy the checkpoint again",
        )
    return tuple(names)


def _with_defaults(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {key: given.get(key, default) for key, default in defaults.items()}


def _rope(given: Mapping[str, Any]) -> dict[str, Any]:
    rope = dict(given.get("rope_parameters") or given.get("rope_scaling") or {})
    kind = rope.pop("type", "default")
    kind = rope.pop("rope_type", kind)
    theta = rope.pop("rope_theta", given.get("rope_theta", ROPE_THETA))
    return {**rope, "rope_type": "default" if kind == "mrope" else kind, "rope_theta": float(theta)}


def _require_attention(
    checkpoint: str, given: Mapping[str, Any], language: dict[str, Any], vision: Mapping[str, Any]
) -> None:
    heads, width = language["num_attention_heads"], language["hidden_size"]
    if language["num_key_value_heads"] is None:
        language["num_key_value_heads"] = heads
    sizes = (heads, width, language["num_key_value_heads"], *(vision[key] for key in ("patch_size", "num_heads")))
    possible = (
        all(type(size) is int and size > 0 for size in sizes)
        and width % heads == 0
        and heads % language["num_key_value_heads"] == 0
        and 2 * sum(language["rope"].get("mrope_section", ())) == width // heads
        and not given.get("use_sliding_window")
    )
    if not possible:
        raise WeightsError(
            f"the config.json of {checkpoint} describes no attention that can be read",
            found=f"{width} channels, {heads} heads, {language['num_key_value_heads']} key heads, "
            f"rotary {language['rope']}, sliding window {bool(given.get('use_sliding_window'))}",
            expected="heads that divide the channels, key heads that divide the heads, an mrope_section that adds up "
            "to half a head, no sliding window",
        )


def _read_image_processor(checkpoint: str, *, revision: str | None, hub_cache: Path | None) -> dict[str, Any]:
    try:
        data = read_json(checkpoint, "preprocessor_config.json", revision=revision, hub_cache=hub_cache)
    except WeightsError as missing:
        try:
            data = read_json(checkpoint, "processor_config.json", revision=revision, hub_cache=hub_cache)
        except WeightsError:
            raise missing from None
        data = data.get("image_processor") if isinstance(data, dict) else None
    if not isinstance(data, dict):
        raise WeightsError(f"{checkpoint} does not say how it takes images", expected="a preprocessor_config.json")
    return data


def _three(values: Sequence[float] | None, default: tuple[float, float, float]) -> tuple[float, float, float]:
    red, green, blue = values or default
    return float(red), float(green), float(blue)


def _pixels(image: Mapping[str, Any]) -> tuple[int, int]:
    size = image.get("size") or {}
    least = image.get("min_pixels") or size.get("shortest_edge") or size.get("min_pixels") or PIXELS[0]
    most = image.get("max_pixels") or size.get("longest_edge") or size.get("max_pixels") or PIXELS[1]
    return int(least), int(most)
