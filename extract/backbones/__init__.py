"""Frozen backbones, one module each, found by name through the registry."""

from typing import TYPE_CHECKING

from ...pipeline import registry

if TYPE_CHECKING:
    from .base import BackboneKind


def find_backbone(name: str) -> "BackboneKind":
    """The backbone of that name; raises ConfigError listing the known ones."""
    kind: BackboneKind = registry.load("backbone", name)
    return kind
