"""What a DINOv2 checkpoint's tokens are, read from its config.json alone; no weights, no model class.

E is one row a frame: the class token and the registers if asked for, then the patch tokens row-major. The network
takes any input whose sides are multiples of the patch size; its positions are interpolated there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from ...pipeline.errors import ConfigError, WeightsError
from ...pipeline.spec import FeatureSpec, ImageSpec, Resize, Tier, TokenLayout
from .options import read_options, require_features
from .weights import read_json, weights_sha256

FEATURES = ("e",)
CHECKPOINT = "facebook/dinov2-base"
NUMERICS = 1  # raise by hand when this code changes a feature's numbers
DEFAULT_SIDE = 224
WEIGHTS = "model.safetensors"
TAPS = {"final": "last layer, final norm", "pre": "last layer, before the final norm"}

OPTIONS: Mapping[str, JsonValue] = {
    "norm": "final",  # "final" norm's output, or "pre": the last layer's, before it
    "cls": False,  # the class token too, before the patches
    "registers": False,  # the registers too, between class token and patches
    "long_side": None,  # pixels: keep the frame's aspect at this long side, both sides floored to whole patches
}

# transformers' Dinov2Config and Dinov2WithRegistersConfig: what a field means where a checkpoint leaves it out
DEFAULTS: Mapping[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "mlp_ratio": 4,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "patch_size": 14,
    "qkv_bias": True,
    "use_swiglu_ffn": False,
}
OF_TYPE: Mapping[str, Mapping[str, Any]] = {
    "dinov2": {},
    "dinov2_with_registers": {"patch_size": 16, "num_register_tokens": 4},
}


def describe(
    checkpoint: str,
    *,
    features: Sequence[str] = FEATURES,
    dtype: Tier = "bf16",
    resize: Resize | None = None,
    image_size: tuple[int, int] | None = None,
    frame_size: tuple[int, int] | None = None,
    options: Mapping[str, JsonValue] | None = None,
    revision: str | None = None,
    hash_cache: Path | None = None,
    hub_cache: Path | None = None,
) -> tuple[FeatureSpec, ...]:
    """Declare a DINOv2 checkpoint's tokens before any weights load.

    Args:
        checkpoint: a directory that ``save_pretrained`` wrote, or a Hub id such as ``facebook/dinov2-base``.
        features: ``e`` (frames, (class token + registers + cells, D)).
        dtype: compute and storage type.
        resize: ``squash`` (None too) or ``letterbox``.
        image_size: (height, width) of the network input in pixels, multiples of the patch size; None is 224 x 224.
        frame_size: (height, width) of the dataset's frames; what ``long_side`` needs.
        options: see :data:`OPTIONS`.
        revision: commit, tag or branch of a Hub repository.
        hash_cache: folder that remembers file hashes.
        hub_cache: the Hub's cache folder; None is the Hub's default.

    Raises:
        WeightsError: files are missing, or the checkpoint is of another kind.
        ConfigError: an unknown feature or option, an option's value that cannot be, or an impossible image size.
    """
    require_features("DINOv2", FEATURES, features)
    chosen = read_options("DINOv2", OPTIONS, options)
    model = read_model(checkpoint, revision=revision, hub_cache=hub_cache)
    if chosen["long_side"] is not None:
        _require_alone(resize, image_size)
        image_size = aspect_size(frame_size, chosen["long_side"], model["patch_size"])
    image = _image_spec(model["patch_size"], resize, image_size)
    digest = weights_sha256(checkpoint, WEIGHTS, revision=revision, hash_cache=hash_cache, hub_cache=hub_cache)
    layout = _layout(model, image, chosen)
    compute = {
        "backbone": "dinov2",
        "weights": {WEIGHTS: digest},
        "image": asdict(image),
        "dtype": dtype,
        "numerics": NUMERICS,
        "tap": _tap(chosen["norm"]),
        "tokens": {"cls": chosen["cls"], "registers": chosen["registers"]},
        "model": model,
    }
    shape = (layout.prefix + layout.cells, int(model["hidden_size"]))
    return tuple(FeatureSpec("e", "frame", shape, layout, image, dtype, compute) for _ in features)


def read_model(checkpoint: str, *, revision: str | None = None, hub_cache: Path | None = None) -> dict[str, Any]:
    """What a checkpoint's config.json says of its numbers; WeightsError unless it is a DINOv2's."""
    config = read_json(checkpoint, "config.json", revision=revision, hub_cache=hub_cache)
    kind = config.get("model_type", "no model_type") if isinstance(config, dict) else "no JSON object"
    if kind not in OF_TYPE:
        raise WeightsError(
            f"{checkpoint} is not a DINOv2",
            found=config.get("type", kind) if isinstance(config, dict) else kind,
            expected=f"model_type {' or '.join(OF_TYPE)} in config.json",
            remedy=f"give a checkpoint such as {CHECKPOINT}, or choose the backbone that fits this one",
        )
    model = {key: config.get(key, default) for key, default in {**DEFAULTS, **OF_TYPE[kind]}.items()}
    if type(model["patch_size"]) is not int or model["patch_size"] < 1:
        raise WeightsError(f"the patches of {checkpoint} are not square", found=model["patch_size"])
    return {"model_type": kind, **model}


def aspect_size(frame_size: tuple[int, int] | None, long_side: JsonValue, patch: int) -> tuple[int, int]:
    """(height, width) of the input that keeps a frame's aspect, both sides floored to a multiple of the patch.

    side' = floor(side * long_side / (longer side) / patch) * patch

    Raises:
        ConfigError: the dataset's frames have several sizes, or a side would hold no patch.
    """
    if frame_size is None:
        raise ConfigError(
            "long_side needs frames of one size",
            found="a dataset whose cameras differ",
            remedy="extract the cameras apart, or give image_size",
        )
    if type(long_side) is not int or long_side < 1:
        raise ConfigError("DINOv2's long_side is a number of pixels", found=long_side)
    height, width = (side * long_side // max(frame_size) // patch * patch for side in frame_size)
    if min(height, width) == 0:
        raise ConfigError("long_side is too short", found=long_side, expected=f"a patch of {patch} pixels a side")
    return height, width


def _require_alone(resize: Resize | None, image_size: tuple[int, int] | None) -> None:
    if resize is not None or image_size is not None:
        raise ConfigError(
            "long_side says how large the input is and how frames are resized",
            found=f"resize {resize} and image_size {image_size} beside it",
            remedy="give long_side alone",
        )


def _image_spec(patch: int, resize: Resize | None, size: tuple[int, int] | None) -> ImageSpec:
    height, width = size or (DEFAULT_SIDE // patch * patch,) * 2
    if height % patch or width % patch or min(height, width) < patch:
        raise ConfigError(
            f"DINOv2's input is cut into patches of {patch} pixels",
            found=f"{height} x {width} pixels",
            expected=f"multiples of {patch}",
            remedy=f"image_size {max(height // patch, 1) * patch} x {max(width // patch, 1) * patch}",
        )
    return ImageSpec(height, width, resize or "squash")


def _layout(model: Mapping[str, Any], image: ImageSpec, chosen: Mapping[str, JsonValue]) -> TokenLayout:
    for name in ("cls", "registers"):
        if type(chosen[name]) is not bool:
            raise ConfigError(f"DINOv2's option {name} is true or false", found=chosen[name])
    registers = int(model.get("num_register_tokens", 0))
    if chosen["registers"] and not registers:
        raise ConfigError(
            "this DINOv2 has no registers",
            found=f"model_type {model['model_type']}",
            remedy="leave registers off, or take a checkpoint with registers",
        )
    prefix = int(chosen["cls"] is True) + registers * (chosen["registers"] is True)
    return TokenLayout(grid=(image.height // model["patch_size"], image.width // model["patch_size"]), prefix=prefix)


def _tap(norm: JsonValue) -> str:
    if norm not in TAPS:
        raise ConfigError("DINOv2 has no such norm", found=norm, expected=list(TAPS))
    return TAPS[str(norm)]
