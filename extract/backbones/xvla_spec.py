"""What an X-VLA checkpoint's features are, read from its JSON files alone; no weights, no model class.

Z is the fused token sequence, one row a query: one pooled token, then the grid row-major, then the text. ``z`` is what
leaves the language encoder's last layer, ``z0`` what enters its first, ``z1`` what leaves its first, and so on. R is
the vision tower's stage-3 map, one row a frame, channels last. Grid and widths come from the checkpoint's
configuration and the image size, never from constants.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import JsonValue

from ...pipeline.errors import ConfigError, WeightsError
from ...pipeline.spec import FeatureSpec, ImageSpec, Resize, Tier, TokenLayout
from .options import read_options, require_features
from .weights import find_tokenizer, read_json, tokenizer_sha256, weights_sha256

LAYERS = 12  # of X-VLA's language encoder: what the names of earlier layers' features go up to
FEATURES = ("z", "r", *(f"z{layer}" for layer in range(LAYERS)))
CHECKPOINT = "lerobot/xvla-base"
NUMERICS = 1  # raise by hand when this code changes a feature's numbers
PREFIX = 1  # the pooled token before the grid
STAGE = 2  # R's stage, counted from 0: the third of DaViT's four
DEFAULT_SIZE = (224, 224)  # of a checkpoint that does not letterbox
WEIGHTS = "model.safetensors"

# transformers' Florence2VisionConfig and BartConfig: what a field means where a checkpoint leaves it out
VISION_DEFAULTS: Mapping[str, Any] = {
    "activation_function": "gelu",
    "depths": [1, 1, 9, 1],
    "embed_dim": [128, 256, 512, 1024],
    "num_groups": [4, 8, 16, 32],
    "num_heads": [4, 8, 16, 32],
    "patch_padding": [3, 1, 1, 1],
    "patch_prenorm": [False, True, True, True],
    "patch_size": [7, 3, 3, 3],
    "patch_stride": [4, 2, 2, 2],
    "window_size": 12,
}
TEXT_DEFAULTS: Mapping[str, Any] = {
    "activation_function": "gelu",
    "d_model": 1024,
    "encoder_attention_heads": 16,
    "encoder_layers": 12,
    "scale_embedding": False,
}

OLD_NAMES = {"embed_dim": "dim_embed"}  # of the original remote-code layout


@dataclass(frozen=True)
class TextInput:
    """How an instruction becomes token ids: the tokenizer step of ``policy_preprocessor.json``.

    ``max_length`` tokens always (padded and truncated); pad tokens are attended, so all of this changes Z.
    """

    tokenizer_name: str | None
    max_length: int
    padding_side: Literal["right", "left"]
    truncation: bool


def describe(
    checkpoint: str,
    *,
    features: Sequence[str] = ("z", "r"),
    dtype: Tier = "bf16",
    resize: Resize | None = None,
    image_size: tuple[int, int] | None = None,
    frame_size: tuple[int, int] | None = None,  # noqa: ARG001 - the network input does not follow it
    options: Mapping[str, JsonValue] | None = None,
    revision: str | None = None,
    hash_cache: Path | None = None,
    hub_cache: Path | None = None,
) -> tuple[FeatureSpec, ...]:
    """Declare an X-VLA checkpoint's features before any weights load.

    Args:
        checkpoint: a directory written by ``XVLAPolicy.save_pretrained`` with its preprocessor, or a Hub id.
        features: any of ``z``, ``z0``, ``z1``, … (queries, (1 + cells + text, D)) and ``r`` (frames,
            (rows, columns, C)).
        dtype: compute and storage type.
        resize: ``squash`` or ``letterbox``; None is the checkpoint's own setting.
        image_size: (height, width) of the network input in pixels; None is the checkpoint's own, else 224 x 224.
        frame_size: of the dataset; the network input does not follow it.
        options: none; earlier layers are features of their own.
        revision: commit, tag or branch of a Hub repository.
        hash_cache: folder that remembers file hashes.
        hub_cache: the Hub's cache folder; None is the Hub's default.

    Raises:
        WeightsError: files are missing, or contradict each other.
        ConfigError: an unknown feature or option, a layer the checkpoint has not, or an impossible image size.
    """
    require_features("X-VLA", FEATURES, features)
    read_options("X-VLA", {}, options)
    config = read_config(checkpoint, revision=revision, hub_cache=hub_cache)
    digest = weights_sha256(checkpoint, WEIGHTS, revision=revision, hash_cache=hash_cache, hub_cache=hub_cache)
    image = _image_spec(config, resize, image_size)
    shared = {"weights": {WEIGHTS: digest}, "image": asdict(image), "dtype": dtype, "numerics": NUMERICS}
    specs = {"r": _describe_r(config, image, shared)} if "r" in features else {}
    if fused := [name for name in features if name != "r"]:
        text = read_text_input(checkpoint, revision=revision, hub_cache=hub_cache)
        tokenizer = find_tokenizer(text.tokenizer_name, checkpoint, revision=revision, hub_cache=hub_cache)
        specs |= {name: _describe_z(name, config, image, shared, text=text, tokenizer=tokenizer) for name in fused}
    return tuple(specs[name] for name in features)


def layer_of(name: str) -> int | None:
    """How many layers of the language encoder come before ``z0``, ``z1``, …; None for ``z``, which follows them all."""
    return int(name[1:]) if name[1:] else None


def read_config(checkpoint: str, *, revision: str | None = None, hub_cache: Path | None = None) -> dict[str, Any]:
    """The checkpoint's config.json; WeightsError unless it is an X-VLA policy's."""
    config = read_json(checkpoint, "config.json", revision=revision, hub_cache=hub_cache)
    if not isinstance(config, dict) or config.get("type") != "xvla":
        raise WeightsError(
            f"{checkpoint} is not an X-VLA policy",
            found=config.get("type", "no policy type") if isinstance(config, dict) else "no JSON object",
            expected="type xvla in config.json",
            remedy="give an X-VLA checkpoint, or choose the backbone that fits this one",
        )
    florence = config.get("florence_config") or {}
    if not florence.get("vision_config") or not florence.get("text_config"):
        raise WeightsError(
            f"the config.json of {checkpoint} does not describe the vision-language model",
            found=sorted(florence),
            expected="florence_config with vision_config and text_config",
        )
    return config


def read_text_input(checkpoint: str, *, revision: str | None = None, hub_cache: Path | None = None) -> TextInput:
    """The tokenizer step of the checkpoint's preprocessor, which wins over config.json.

    Raises:
        WeightsError: no preprocessor, no tokenizer step, or one that gives no fixed length.
    """
    name = "policy_preprocessor.json"
    steps = read_json(checkpoint, name, revision=revision, hub_cache=hub_cache).get("steps", [])
    found = [step for step in steps if step.get("registry_name") == "tokenizer_processor"]
    if len(found) != 1:
        raise WeightsError(
            f"{name} of {checkpoint} has {len(found)} tokenizer steps",
            found=[step.get("registry_name") for step in steps],
            expected="one step tokenizer_processor",
            remedy="save the policy's preprocessor beside its weights",
        )
    values = found[0].get("config", {})
    length, padding, side = values.get("max_length"), values.get("padding", "max_length"), values.get("padding_side")
    if padding != "max_length" or not isinstance(length, int) or length < 1:
        raise WeightsError(
            f"the tokenizer step of {checkpoint} gives texts of no fixed length",
            found=f"padding {padding}, max_length {length}",
            expected="padding max_length and a positive max_length",
        )
    return TextInput(
        tokenizer_name=values.get("tokenizer_name"),
        max_length=length,
        padding_side="left" if side == "left" else "right",
        truncation=bool(values.get("truncation", True)),
    )


def grid_after(vision: Mapping[str, Any], stages: int, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns after the first ``stages`` patch convolutions.

    n' = floor((n + 2 padding - patch) / stride) + 1, for each axis and stage.
    """
    rows, columns = size
    for stage in range(stages):
        patch, stride, padding = (vision[f"patch_{key}"][stage] for key in ("size", "stride", "padding"))
        rows, columns = ((n + 2 * padding - patch) // stride + 1 for n in (rows, columns))
    return rows, columns


def _describe_z(
    name: str,
    config: Mapping[str, Any],
    image: ImageSpec,
    shared: Mapping[str, Any],
    *,
    text: TextInput,
    tokenizer: Path,
) -> FeatureSpec:
    vision, language = _vision(config), _language(config)
    grid = grid_after(vision, len(vision["patch_size"]), (image.height, image.width))
    layout = TokenLayout(grid=grid, prefix=PREFIX, text=text.max_length)
    tokens = layout.prefix + layout.cells + layout.text
    _require_positions(grid, tokens, config)
    words = asdict(text) | {"files": tokenizer_sha256(tokenizer)}
    del words["tokenizer_name"]  # a place, not a computation
    compute = {
        **shared,
        "backbone": "xvla",
        "tap": _tap(name, int(language["encoder_layers"])),
        "view": 0,
        "vision": vision,
        "language": language,
        "text": words,
    }
    shape = (tokens, int(language["d_model"]))
    return FeatureSpec(name, "query", shape, layout, image, shared["dtype"], compute)


def _tap(name: str, layers: int) -> str:
    layer = layer_of(name)
    if layer is not None and layer >= layers:
        raise ConfigError(
            f"X-VLA's language encoder has no earlier layer {layer}",
            found=f"feature {name!r}, {layers} layers",
            expected=f"z0 to z{layers - 1}, or z, which follows the last layer",
            remedy="correct features",
        )
    return "language encoder output" if layer is None else f"language encoder, after layer {layer}"


def _describe_r(config: Mapping[str, Any], image: ImageSpec, shared: Mapping[str, Any]) -> FeatureSpec:
    vision = _vision(config)
    grid = grid_after(vision, STAGE + 1, (image.height, image.width))
    compute = {**shared, "backbone": "davit", "tap": f"stage {STAGE + 1}, raw residual stream", "vision": vision}
    shape = (*grid, int(vision["embed_dim"][STAGE]))
    return FeatureSpec("r", "frame", shape, TokenLayout(grid=grid), image, shared["dtype"], compute)


def _image_spec(config: Mapping[str, Any], resize: Resize | None, size: tuple[int, int] | None) -> ImageSpec:
    padded = config.get("resize_imgs_with_padding")
    height, width = size or padded or DEFAULT_SIZE
    if min(grid_after(_vision(config), len(_vision(config)["patch_size"]), (height, width))) < 1:
        raise ConfigError("the network input is smaller than one cell", found=f"{height} x {width} pixels")
    return ImageSpec(int(height), int(width), resize or ("letterbox" if padded else "squash"))


def _vision(config: Mapping[str, Any]) -> dict[str, Any]:
    given = config["florence_config"]["vision_config"]
    return {key: given.get(key, given.get(OLD_NAMES.get(key, key), value)) for key, value in VISION_DEFAULTS.items()}


def _language(config: Mapping[str, Any]) -> dict[str, Any]:
    given = config["florence_config"]["text_config"]
    return {key: given.get(key, default) for key, default in TEXT_DEFAULTS.items()}


def _require_positions(grid: tuple[int, int], tokens: int, config: Mapping[str, Any]) -> None:
    vision, language = (config["florence_config"][f"{part}_config"] for part in ("vision", "text"))
    side = (vision.get("image_pos_embed") or {}).get("max_pos_embeddings", vision.get("max_position_embeddings", 50))
    length = language.get("max_position_embeddings", 1024)
    if tokens > length or max(grid) > side:
        raise WeightsError(
            "the token sequence is longer than the model's positions",
            found=f"{grid[0]} x {grid[1]} cells, {tokens} tokens",
            expected=f"at most {side} rows or columns and {length} tokens",
            remedy="use a smaller image_size, or the preprocessor that belongs to this checkpoint",
        )
