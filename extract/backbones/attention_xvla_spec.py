"""The attention states of an X-VLA checkpoint's language encoder, from its JSON files alone.

The encoder attends in both directions over [pooled token, grid, text]: keys and values have one pooled token before
the grid, queries have the text at the preprocessor's fixed length, padding included because it is attended.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from ...pipeline.errors import WeightsError
from ...pipeline.spec import FeatureSpec, Resize, Tier
from . import xvla_spec
from .attention_spec import FEATURES, OPTIONS, Choice, TokenSequence, choose, declare
from .options import read_options, require_features

NAME = "xvla-attention"


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
    """Declare the attention states of an X-VLA checkpoint before any weights load.

    Args:
        checkpoint: a directory written by ``XVLAPolicy.save_pretrained`` with its preprocessor, or a Hub id.
        features: any of ``q``, ``k``, ``v``, ``s``, ``w``, all of queries; shapes as in ``attention_spec.declare``.
        dtype: compute and storage type.
        resize: ``squash`` or ``letterbox``; None is the checkpoint's own setting.
        image_size: (height, width) of the network input in pixels; None is the checkpoint's own, else 224 x 224.
        frame_size: of the dataset; the network input does not follow it.
        options: ``layers`` and ``heads``, each ``"all"`` or a list of numbers from 0.
        revision: commit, tag or branch of a Hub repository.
        hash_cache: folder that remembers file hashes.
        hub_cache: the Hub's cache folder; None is the Hub's default.

    Raises:
        WeightsError: files are missing, or contradict each other.
        ConfigError: an unknown feature, option, layer or head, or an impossible image size.
    """
    require_features(NAME, FEATURES, features)
    read = read_options(NAME, OPTIONS, options)
    (z,) = xvla_spec.describe(
        checkpoint,
        features=("z",),
        dtype=dtype,
        resize=resize,
        image_size=image_size,
        frame_size=frame_size,
        options={},
        revision=revision,
        hash_cache=hash_cache,
        hub_cache=hub_cache,
    )
    choice = _choose(checkpoint, z, read)
    return tuple(_describe_one(name, z, choice) for name in features)


def fused(spec: FeatureSpec) -> FeatureSpec:
    """Z of the same checkpoint, as far as loading it needs: what makes the sequence that the layers attend over."""
    compute = {"dtype": spec.tier, **spec.compute, "backbone": "xvla", "tap": "language encoder output"}
    for name in ("layers", "heads", "group", "attention_numerics"):
        compute.pop(name, None)
    return FeatureSpec("z", "query", spec.shape, spec.layout, spec.image, spec.tier, compute)


def _choose(checkpoint: str, z: FeatureSpec, options: Mapping[str, JsonValue]) -> Choice:
    language = z.compute["language"]
    layers, heads, width = (language[key] for key in ("encoder_layers", "encoder_attention_heads", "d_model"))
    if heads < 1 or width % heads:
        raise WeightsError(
            f"the config.json of {checkpoint} describes no attention",
            found=f"{heads} heads of {width} channels",
            expected="a number of heads that divides d_model",
        )
    return choose(options, layers=layers, heads=heads, key_heads=heads)


def _describe_one(name: str, z: FeatureSpec, choice: Choice) -> FeatureSpec:
    width = z.compute["language"]["d_model"] // z.compute["language"]["encoder_attention_heads"]
    return declare(
        name,
        choice=choice,
        sequence=TokenSequence(z.layout.grid, z.layout.prefix, z.layout.text, width),
        image=z.image,
        tier=z.tier,
        compute={**z.compute, "backbone": NAME},
        words={"backbone": NAME, "text": z.compute["text"]},
    )
