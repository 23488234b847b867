"""The features of every backbone asked for, before any weights load, and the backbones that make what is missing."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from ..pipeline.errors import ConfigError
from ..pipeline.spec import FeatureSpec, Tier
from .backbones import find_backbone
from .backbones.base import Backbone
from .compiled import CompiledBackbone
from .config import BackboneConfig, ExtractConfig


class Described(NamedTuple):
    """A backbone and the features it is to make; no two backbones make the same."""

    backbone: BackboneConfig
    specs: tuple[FeatureSpec, ...]


def describe_backbones(config: ExtractConfig, frame_size: tuple[int, int] | None) -> tuple[Described, ...]:
    """Describe what every backbone is asked for; what two of them would make alike is the first one's.

    Args:
        config: the backbones and their features.
        frame_size: (height, width) of the dataset's frames; None if it has several.

    Raises:
        ConfigError: a feature that none of the backbones makes, an unknown backbone or option.
        WeightsError: a checkpoint that is missing or of another kind.
    """
    _require_makers(config)
    described, made = [], set[str]()
    for backbone in config.chosen:
        specs = [spec for spec in _describe(backbone, config, frame_size) if spec.key not in made]
        made |= {spec.key for spec in specs}
        if specs:
            described.append(Described(backbone, tuple(specs)))
    return tuple(described)


def describe_backbone(
    backbone: BackboneConfig,
    features: tuple[str, ...],
    dtype: Tier,
    frame_size: tuple[int, int] | None,
    *,
    hash_cache: Path | None,
    hub_cache: Path | None,
) -> tuple[FeatureSpec, ...]:
    """What one backbone would make, no weights loaded; arguments and errors as of :func:`describe_backbones`."""
    return find_backbone(backbone.kind).describe(
        backbone.checkpoint,
        features=features,
        dtype=dtype,
        resize=backbone.resize,
        image_size=backbone.image_size,
        frame_size=frame_size,
        options=backbone.options,
        revision=backbone.revision,
        hash_cache=hash_cache,
        hub_cache=hub_cache,
    )


def load_backbones(
    described: Sequence[Described], missing: Collection[str], *, device: torch.device, config: ExtractConfig
) -> list[Backbone]:
    """Load the backbones that make features of which something is missing (by key), for those features alone.

    Raises:
        WeightsError: weights that are missing, damaged or of another kind.
    """
    loaded: list[Backbone] = []
    for backbone, specs in described:
        needed = [spec for spec in specs if spec.key in missing]
        if needed:
            load = find_backbone(backbone.kind).load
            revision, hub_cache = backbone.revision, config.hub_cache
            network = load(backbone.checkpoint, needed, device=device, revision=revision, hub_cache=hub_cache)
            loaded.append(CompiledBackbone(network) if config.compile else network)
    return loaded


def _describe(
    backbone: BackboneConfig, config: ExtractConfig, frame_size: tuple[int, int] | None
) -> tuple[FeatureSpec, ...]:
    names = _names(backbone, config)
    if not names:
        return ()
    hashes, hub = config.hash_cache, config.hub_cache
    return describe_backbone(backbone, names, config.dtype, frame_size, hash_cache=hashes, hub_cache=hub)


def _names(backbone: BackboneConfig, config: ExtractConfig) -> tuple[str, ...]:
    kind = find_backbone(backbone.kind)
    if backbone.features:
        return backbone.features
    if config.features is None:
        return kind.usual or kind.features
    return tuple(name for name in config.features if name in kind.features)


def _require_makers(config: ExtractConfig) -> None:
    """Every feature asked for has a backbone, and every backbone a feature."""
    known = sorted({name for backbone in config.chosen for name in find_backbone(backbone.kind).features})
    names_its_own = config.backbones and all(backbone.features for backbone in config.backbones)
    for name in () if names_its_own else config.features or ():
        if name not in known:
            raise ConfigError(
                f"none of the backbones makes a feature {name!r}",
                found=[backbone.kind for backbone in config.chosen],
                expected=known,
                remedy="correct --features, or name the backbone that makes it",
            )
    for backbone in config.chosen:
        if not _names(backbone, config):
            raise ConfigError(
                f"nothing was asked of the backbone {backbone.kind}",
                found=config.features,
                expected=find_backbone(backbone.kind).features,
                remedy="name one of its features, or leave the backbone out",
            )
