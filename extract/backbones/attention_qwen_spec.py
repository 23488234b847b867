"""The attention states of a Qwen2.5-VL checkpoint's language model, from its JSON files alone.

The model is causal: an instruction must follow its image to see it. The prompt is an option, by default the model's own
chat format; the text positions are everything behind the image's, padded on the right, where nothing sees it. Queries
and keys are taken after the rotary embedding, because only then is q · k the score that the layer computes.

We differ from the model's own processor in one thing: frames are resized bilinearly, as everywhere here, not bicubicly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from ...pipeline.errors import ConfigError
from ...pipeline.spec import FeatureSpec, ImageSpec, Resize, Tier
from . import attention_spec
from .attention_qwen_config import QwenConfig, fitted_size, read_config, weight_files
from .attention_spec import FEATURES, TokenSequence, choose, declare
from .options import read_options, require_features
from .weights import find_tokenizer, tokenizer_sha256, weights_sha256

NAME = "qwen-attention"
NUMERICS = 1  # raise by hand when this code changes a feature's numbers
IMAGE, INSTRUCTION = "<|image_pad|>", "{instruction}"
PROMPT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    f"<|im_start|>user\n<|vision_start|>{IMAGE}<|vision_end|>{INSTRUCTION}<|im_end|>\n<|im_start|>assistant\n"
)
OPTIONS: Mapping[str, JsonValue] = {**attention_spec.OPTIONS, "text_length": 32, "prompt": PROMPT}
DEFAULT_FRAME = (448, 448)  # whose size the network input takes if the dataset's frames have several


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
    """Declare the attention states of a Qwen2.5-VL checkpoint before any weights load.

    Args:
        checkpoint: a directory written by ``save_pretrained`` with tokenizer and image processor, or a Hub id.
        features: any of ``q``, ``k``, ``v``, ``s``, ``w``, all of queries; shapes as in ``attention_spec.declare``.
        dtype: compute and storage type; ``bf16`` is the type that published weights have.
        resize: ``squash`` (also what None means) or ``letterbox``.
        image_size: (height, width) of the network input in pixels, whole cells; None fits the frames as the model's
            processor does.
        frame_size: (height, width) of the dataset's frames; None is taken for 448 x 448.
        options: ``layers`` and ``heads``, each ``"all"`` or a list of numbers from 0; ``text_length``, the positions
            behind the image; ``prompt``, with ``<|image_pad|>`` for the image and ``{instruction}`` behind it.
        revision: commit, tag or branch of a Hub repository.
        hash_cache: folder that remembers file hashes.
        hub_cache: the Hub's cache folder; None is the Hub's default.

    Raises:
        WeightsError: files are missing, or contradict each other.
        ConfigError: an unknown feature, option, layer or head, an impossible image size, length or prompt.
    """
    require_features(NAME, FEATURES, features)
    read = read_options(NAME, OPTIONS, options)
    where: Any = {"revision": revision, "hub_cache": hub_cache}
    config = read_config(checkpoint, **where)
    language = config.language
    choice = choose(
        read,
        layers=language["num_hidden_layers"],
        heads=language["num_attention_heads"],
        key_heads=language["num_key_value_heads"],
    )
    image = _image_spec(config, resize, image_size, frame_size)
    names = weight_files(checkpoint, **where)
    weights = {name: weights_sha256(checkpoint, name, hash_cache=hash_cache, **where) for name in names}
    words = _words(read, tokenizer_sha256(find_tokenizer(None, checkpoint, **where)))
    compute = _compute(config, image, dtype, weights) | words
    sequence = TokenSequence(
        grid=(image.height // config.cell, image.width // config.cell),
        prefix=0,
        text=words["text"]["max_length"],
        head_width=config.head_width,
    )
    return tuple(
        declare(name, choice=choice, sequence=sequence, image=image, tier=dtype, compute=compute, words=words)
        for name in features
    )


def split_prompt(prompt: str) -> tuple[str, str, str]:
    """A prompt's text before the image, between image and instruction, and behind the instruction.

    Raises:
        ConfigError: not one image with one instruction behind it.
    """
    before, _, rest = prompt.partition(IMAGE)
    lead, _, tail = rest.partition(INSTRUCTION)
    if prompt.count(IMAGE) != 1 or rest.count(INSTRUCTION) != 1 or INSTRUCTION in before:
        raise ConfigError(
            "the prompt has not one image and one instruction behind it",
            found=prompt,
            expected=f"{IMAGE} once, and {INSTRUCTION} once behind it: the model does not look ahead",
            remedy="correct the option prompt",
        )
    return before, lead, tail


def _words(options: Mapping[str, JsonValue], tokenizer: Mapping[str, str]) -> dict[str, Any]:
    length, prompt = options["text_length"], options["prompt"]
    if type(length) is not int or length < 1:
        raise ConfigError("text_length is no number of positions", found=length, expected="a positive whole number")
    if not isinstance(prompt, str):
        raise ConfigError("the prompt is no text", found=prompt, remedy="correct the option prompt")
    split_prompt(prompt)
    text = {"max_length": length, "padding_side": "right", "truncation": False, "files": dict(tokenizer)}
    return {"backbone": NAME, "prompt": prompt, "text": text}


def _compute(config: QwenConfig, image: ImageSpec, dtype: Tier, weights: Mapping[str, str]) -> dict[str, Any]:
    return {
        "weights": dict(weights),
        "image": asdict(image),
        "dtype": dtype,
        "numerics": NUMERICS,
        "vision": dict(config.vision),
        "language": dict(config.language),
        "image_token": config.image_token,
        "rotary": "after",
    }


def _image_spec(
    config: QwenConfig,
    resize: Resize | None,
    image_size: tuple[int, int] | None,
    frame_size: tuple[int, int] | None,
) -> ImageSpec:
    height, width = image_size or fitted_size(frame_size or DEFAULT_FRAME, config)
    if min(height, width) < 1 or height % config.cell or width % config.cell:
        raise ConfigError(
            "the network input is not made of whole cells",
            found=f"{height} x {width} pixels",
            expected=f"multiples of {config.cell}",
            remedy="correct image_size, or leave it out to follow the frames",
        )
    return ImageSpec(height, width, resize or "squash", mean=config.mean, std=config.std)
