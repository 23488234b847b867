"""A backbone's own options: names it knows, values of the right kind."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from ...pipeline.config import nearest
from ...pipeline.errors import ConfigError


def read_options(
    backbone: str, defaults: Mapping[str, JsonValue], given: Mapping[str, JsonValue] | None
) -> dict[str, JsonValue]:
    """The defaults with what was given in their place; raises ConfigError naming an unknown option."""
    for name in given or {}:
        if name not in defaults:
            meant = nearest(name, list(defaults))
            raise ConfigError(
                f"{backbone} has no option {name!r}",
                expected=list(defaults),
                remedy=f"did you mean {meant!r}?" if meant else None,
            )
    return {**defaults, **(given or {})}


def require_features(backbone: str, known: Sequence[str], asked: Sequence[str]) -> None:
    """Raise ConfigError naming a feature that the backbone cannot make."""
    for name in asked:
        if name not in known:
            raise ConfigError(f"{backbone} has no feature {name!r}", expected=known, remedy="correct features")
