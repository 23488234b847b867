"""A backbone in one word of a command line: ``[KIND=]CHECKPOINT[?option=value&…]``, and back.

``features`` (comma-separated), ``revision``, ``resize`` and ``image_size`` (``HEIGHTxWIDTH``) may be given like
options; all other names are the backbone's own. Values are read as YAML, with ``&``, ``#``, ``%``
and blanks percent-encoded.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from ..pipeline.config import parse_yaml
from ..pipeline.errors import ConfigError
from .config import BackboneConfig

FORM = "[KIND=]CHECKPOINT[?option=value&…]"
DEFAULT_KIND = "xvla"

_KIND = re.compile(r"([a-z][a-z0-9_-]*)=(.*)", re.DOTALL)
_SIZE = re.compile(r"([1-9]\d*)x([1-9]\d*)")


def parse_backbone(text: str) -> BackboneConfig:
    """Read one backbone.

    Raises:
        ConfigError: no checkpoint, an option without value or given twice, or a value that cannot be meant.
    """
    named, _, query = text.partition("?")
    match = _KIND.fullmatch(named)
    kind, checkpoint = match.groups() if match else (DEFAULT_KIND, named)
    if not checkpoint:
        raise ConfigError("a backbone without checkpoint", found=text, expected=FORM)
    values = _values(text, query)
    known: dict[str, Any] = {name: read(values.pop(name)) for name, read in _KNOWN.items() if name in values}
    options = {name: parse_yaml(value, source=f"option {name} of {named}") for name, value in values.items()}
    return BackboneConfig(kind, checkpoint, options=options, **known)


def name_backbone(backbone: BackboneConfig) -> str:
    """The word that :func:`parse_backbone` reads as this backbone; a checkpoint that is there by its absolute path."""
    folder = Path(backbone.checkpoint)
    checkpoint = os.path.abspath(folder) if folder.exists() else backbone.checkpoint
    said = {"features": ",".join(backbone.features), "revision": backbone.revision, "resize": backbone.resize}
    if backbone.image_size is not None:
        said["image_size"] = "x".join(map(str, backbone.image_size))
    pairs = [(name, value) for name, value in said.items() if value]
    pairs += [(name, _shown(value)) for name, value in sorted(backbone.options.items())]
    kind = "" if backbone.kind == DEFAULT_KIND else f"{backbone.kind}="
    return f"{kind}{checkpoint}" + (
        "?" + "&".join(f"{name}={_quoted(value)}" for name, value in pairs) if pairs else ""
    )


def _values(text: str, query: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, equals, value = pair.partition("=")
        if not name or not equals or name in values:
            raise ConfigError(f"an option of a backbone cannot be read: {pair}", found=text, expected=FORM)
        values[name] = unquote(value)
    return values


def _read_features(value: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    if not names:
        raise ConfigError("a backbone without features", found=value, expected="names, comma-separated")
    return names


def _read_resize(value: str) -> str:
    if value not in ("squash", "letterbox"):
        raise ConfigError("there is no such resize", found=value, expected=("squash", "letterbox"))
    return value


def _read_size(value: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(value)
    if match is None:
        raise ConfigError("image_size cannot be read", found=value, expected="HEIGHTxWIDTH in pixels, such as 224x224")
    return int(match[1]), int(match[2])


_KNOWN: Mapping[str, Callable[[str], Any]] = {
    "features": _read_features,
    "revision": str,
    "resize": _read_resize,
    "image_size": _read_size,
}


def _shown(value: Any) -> str:
    """A value in the shortest text that reads as it."""
    if isinstance(value, str) and parse_yaml(value, source="") == value:
        return value
    return json.dumps(value)


def _quoted(value: str) -> str:
    return quote(value, safe="/:,[]{}\"'=+@~!*()")
