"""The backbones that a run's record names, found where their weights are now, refused if they are others.

A run records the command that extracted each of its features. Its backbones are read out of that command; a checkpoint
that moved is named anew. Before any weight is loaded, what the checkpoint would make is described and its fingerprint
compared with the run's.
"""

import itertools
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from ...extract.backbones import find_backbone
from ...extract.backbones.base import Backbone
from ...extract.config import BackboneConfig
from ...extract.described import describe_backbone
from ...extract.naming import name_backbone, parse_backbone
from ...pipeline.errors import ConfigError, StoreMismatch, WeightsError
from ...pipeline.record import RunRecord
from ...pipeline.registry import MADE_BY
from ...pipeline.spec import FeatureSpec, differences


class Caches(NamedTuple):
    """Folders that save work; None is without."""

    hashes: Path | None = None
    hub: Path | None = None


NO_CACHES = Caches()


class Maker(NamedTuple):
    """A backbone whose weights were found, and what it is to make: the record's feature names -> what they are."""

    backbone: BackboneConfig
    specs: Mapping[str, FeatureSpec]


def find_makers(
    record: RunRecord,
    names: Collection[str],
    *,
    given: Sequence[str] = (),
    frame_size: tuple[int, int] | None = None,
    caches: Caches = NO_CACHES,
) -> tuple[Maker, ...]:
    """The backbones that make a run's features exactly as the run had them; loads no weight.

    Args:
        record: the run's record.
        names: the record's feature names that are needed.
        given: where backbones are now, as ``KIND=CHECKPOINT``; without options, the recorded ones hold.
        frame_size: (height, width) of the dataset's frames, for inputs that follow it.
        caches: where file hashes and Hub files are kept.

    Raises:
        ConfigError: a word of ``given`` that cannot be read, or is of a backbone that the run does not need.
        WeightsError: nobody knows where the weights are, or they are not there.
        StoreMismatch: they are other weights, or make the feature otherwise; says field by field what differs.
    """
    named = _given(given)
    chosen: dict[str, list[str]] = {}
    backbones: dict[str, BackboneConfig] = {}
    for name in names:
        backbone = _backbone(record, name, named)
        key = name_backbone(replace(backbone, features=()))
        chosen.setdefault(key, []).append(name)
        backbones[key] = replace(backbone, features=())
    _refuse_unneeded(named, backbones.values())
    return tuple(
        Maker(backbones[key], _described(record, backbones[key], members, frame_size, caches))
        for key, members in chosen.items()
    )


def load_maker(maker: Maker, *, device: torch.device, caches: Caches = NO_CACHES) -> Backbone:
    """Load one backbone for its features alone. Raises WeightsError for weights that are damaged."""
    load = find_backbone(maker.backbone.kind).load
    specs = list(maker.specs.values())
    checkpoint, revision = maker.backbone.checkpoint, maker.backbone.revision
    return load(checkpoint, specs, device=device, revision=revision, hub_cache=caches.hub)


def recorded_backbones(command: str) -> Iterator[BackboneConfig]:
    """The backbones of a recorded ``vtt extract …``; none where it is no such command."""
    try:
        words = shlex.split(command)
    except ValueError:
        return
    revision = next((value for flag, value in itertools.pairwise(words) if flag == "--revision"), None)
    for flag, word in itertools.pairwise(words):
        if flag == "--backbone":
            found = parse_backbone(word)
            yield replace(found, revision=found.revision or revision)


def _given(words: Sequence[str]) -> dict[str, BackboneConfig]:
    named: dict[str, BackboneConfig] = {}
    for word in words:
        backbone = parse_backbone(word)
        find_backbone(backbone.kind)
        if backbone.kind in named:
            raise ConfigError(f"two places for the backbone {backbone.kind}", found=list(words))
        named[backbone.kind] = backbone
    return named


def _backbone(record: RunRecord, name: str, named: Mapping[str, BackboneConfig]) -> BackboneConfig:
    """What makes a feature: as recorded, from where it lies now."""
    spec = record.spec(name)
    recorded = next(
        (one for one in recorded_backbones(record.made_by.get(name, "")) if _makes(one, spec)),
        None,
    )
    if recorded is not None:
        now = named.get(recorded.kind)
        return recorded if now is None else _moved(recorded, now)
    able = [one for one in named.values() if _makes(one, spec)]
    if not able:
        kind = MADE_BY.get(spec.name, str(spec.compute.get("backbone")))
        raise WeightsError(
            f"the run does not say where the weights are that made its feature {name}",
            expected=f"weights of {kind}, fingerprint {spec.fingerprint[:16]}",
            remedy=f"name them: --backbone {kind}=CHECKPOINT",
        )
    size = (spec.image.height, spec.image.width)
    stated = able[0].options.get("long_side") is not None
    return able[0] if stated else replace(able[0], image_size=size, resize=spec.image.resize)


def _makes(backbone: BackboneConfig, spec: FeatureSpec) -> bool:
    names = backbone.features or find_backbone(backbone.kind).features
    return spec.name in names


def _moved(recorded: BackboneConfig, now: BackboneConfig) -> BackboneConfig:
    """The recorded settings with the checkpoint of now; settings that are said now win."""
    return replace(
        recorded,
        checkpoint=now.checkpoint,
        revision=now.revision or (None if Path(now.checkpoint).is_dir() else recorded.revision),
        resize=now.resize or recorded.resize,
        image_size=now.image_size or recorded.image_size,
        options={**recorded.options, **now.options},
    )


def _refuse_unneeded(named: Mapping[str, BackboneConfig], used: Collection[BackboneConfig]) -> None:
    kinds = {backbone.kind for backbone in used}
    unneeded = sorted(set(named) - kinds)
    if unneeded:
        raise ConfigError(
            "a backbone was named that the run does not need",
            found=unneeded,
            expected=sorted(kinds),
            remedy="correct --backbone: KIND=CHECKPOINT",
        )


def _described(
    record: RunRecord,
    backbone: BackboneConfig,
    members: Sequence[str],
    frame_size: tuple[int, int] | None,
    caches: Caches,
) -> dict[str, FeatureSpec]:
    """What the checkpoint would make, each the run's own."""
    wanted = {name: record.spec(name) for name in members}
    _require_there(backbone, members)
    features, dtype = tuple(spec.name for spec in wanted.values()), next(iter(wanted.values())).compute["dtype"]
    found = describe_backbone(backbone, features, dtype, frame_size, hash_cache=caches.hashes, hub_cache=caches.hub)
    for (name, expected), spec in zip(wanted.items(), found, strict=True):
        _require_same(name, expected, spec, backbone)
    return dict(zip(wanted, found, strict=True))


def _require_there(backbone: BackboneConfig, members: Sequence[str]) -> None:
    """WeightsError for a folder that is gone."""
    gone = Path(backbone.checkpoint).is_absolute() and not Path(backbone.checkpoint).is_dir()
    if gone:
        raise WeightsError(
            f"the weights that made {', '.join(members)} are not where they were",
            found=f"no folder {backbone.checkpoint}",
            expected=f"the checkpoint of {backbone.kind} that the features were extracted with",
            remedy=f"say where it is now: --backbone {backbone.kind}=CHECKPOINT",
        )


def _require_same(name: str, expected: FeatureSpec, found: FeatureSpec, backbone: BackboneConfig) -> None:
    if found.fingerprint == expected.fingerprint:
        return
    raise StoreMismatch(
        f"{backbone.checkpoint} does not make the feature {name} that the run was trained on",
        found=differences(found.to_json()["compute"], expected.to_json()["compute"]),
        expected=f"fingerprint {expected.fingerprint[:16]}; each line above is found != expected",
        remedy=f"name the checkpoint that made the run's features: --backbone {backbone.kind}=CHECKPOINT",
    )
