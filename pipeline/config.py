"""Plain data -> strict frozen dataclasses, and nothing more: no globals, no environment, no code named in YAML.

    mapping = apply_overrides(load_yaml("recipe.yaml"), ["head.dim=256"])
    config = build(TrainConfig, mapping, source="recipe.yaml")

Every problem is a :class:`ConfigError` that names the dotted key.
"""

import copy
import difflib
import math
import re
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from .errors import ConfigError
from .place import StoreUrl


def build[Config](cls: type[Config], mapping: Mapping[str, Any], *, source: str) -> Config:
    """Build one dataclass, and every dataclass inside it, from plain data.

    Fields may be bool, int, float, str, Path, Any, Literal, a dataclass, tuple, Mapping or a union of these. An int
    is accepted where a float is meant; a bool is never a number. Of a union of dataclasses, the one that shares most
    keys with the data is meant.

    Args:
        cls: a dataclass.
        mapping: its fields by name; fields with a default may be left out.
        source: where the data came from, for messages ("recipe ground.yaml").

    Raises:
        ConfigError: an unknown or missing key, or a value of another type.
    """
    return _dataclass(cls, mapping, "", source)


def apply_overrides(mapping: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of the data with ``dotted.key=value`` strings laid over it; values are read as YAML.

    Raises:
        ConfigError: an override without ``=``, with an empty key, or that goes through a value that is no mapping.
    """
    result: dict[str, Any] = copy.deepcopy(dict(mapping))
    for override in overrides:
        key, equals, text = override.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            raise ConfigError("an override cannot be read", found=override, expected="key=value or group.key=value")
        _set(result, parts, parse_yaml(text, source=f"override {override}"), override)
    return result


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping; an empty file is an empty mapping.

    Raises:
        ConfigError: no such file, not YAML, a key given twice (with its line), or no mapping at the top.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}", found=error, expected="a YAML file in UTF-8") from None
    data = parse_yaml(text, source=str(path))
    if data is not None and not isinstance(data, dict):
        raise ConfigError(f"{path} holds no mapping", found=_shown(data), expected="lines of the form `key: value`")
    return data or {}


def parse_yaml(text: str, *, source: str) -> Any:
    """Plain data from YAML text: duplicate keys refused, ``1e-4`` is a number, no tags that name code.

    Raises:
        ConfigError: not YAML, with the line.
    """
    try:
        return _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{source}{line}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{source} is not YAML", found=error) from None


def to_plain(value: Any) -> Any:
    """The plain data (dict, list, str, number, None) that :func:`build` turns back into an equal instance."""
    if isinstance(value, StoreUrl):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value) if field.init}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def refuse_outside(section: str, config: Any, ranges: Mapping[str, tuple[float, float]]) -> None:
    """ConfigError for the first field that is not a number between the two of its range, both included.

    Args:
        section: where the fields stand, for the message (``decoder``; empty for the top).
        config: what has the fields.
        ranges: least and most of each.
    """
    for name, (least, most) in ranges.items():
        value = getattr(config, name)
        if not least <= value <= most:
            problem = "too small" if most == math.inf else "out of range"
            expected = f"at least {least:g}" if most == math.inf else f"{least:g} to {most:g}"
            raise ConfigError(f"{_join(section, name)} is {problem}", found=value, expected=expected)


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that was probably meant, or None."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return close[0] if close else None


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and reads ``1e-4`` as YAML 1.2 does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key `{key.value}` is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+0123456789.")
)


def _dataclass[Config](cls: type[Config], value: Any, key: str, source: str) -> Config:
    if not isinstance(value, Mapping):
        raise _wrong_type(value, f"a mapping with {', '.join(_known(cls))}", key, source)
    for name in value:
        if name not in _known(cls):
            raise _unknown(str(name), _known(cls), key, source)
    hints = get_type_hints(cls)
    missing = [name for name in _required(cls) if name not in value]
    if missing:
        raise ConfigError(
            f"{source}: `{_join(key, missing[0])}` is missing",
            found=sorted(map(str, value)),
            expected=[f"`{_join(key, name)}`: {_type_name(hints[name])}" for name in missing],
            remedy=f"add {_join(key, missing[0])}",
        )
    values = {name: _value(hints[name], item, _join(key, name), source) for name, item in value.items()}
    try:
        return cls(**values)
    except ConfigError as error:  # its own check, which does not know where the data came from
        problem = f"{source}: {error.problem}"
        raise ConfigError(problem, found=error.found, expected=error.expected, remedy=error.remedy) from None


def _value(kind: Any, value: Any, key: str, source: str) -> Any:
    origin = get_origin(kind)
    if kind is Any:
        return value
    if kind is StoreUrl and isinstance(value, (str, StoreUrl)):
        return StoreUrl(value) if isinstance(value, str) else value
    if origin in (Union, types.UnionType):
        return _union(get_args(kind), value, key, source)
    if origin is Literal:
        return _literal(get_args(kind), value, key, source)
    if is_dataclass(kind) and isinstance(kind, type):
        return value if isinstance(value, kind) else _dataclass(kind, value, key, source)
    if origin is tuple:
        return _tuple(get_args(kind), value, key, source)
    if origin in (dict, Mapping):
        return _mapping(get_args(kind), value, key, source)
    return _scalar(kind, value, key, source)


def _scalar(kind: Any, value: Any, key: str, source: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, (str, Path)):
        return Path(value)
    if type(value) is not kind and not (value is None and kind is type(None)):
        raise _wrong_type(value, _type_name(kind), key, source)
    return value


def _union(kinds: tuple[Any, ...], value: Any, key: str, source: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    classes = [kind for kind in kinds if is_dataclass(kind)]
    if classes and isinstance(value, Mapping):
        kinds = (max(classes, key=lambda cls: len(set(_known(cls)) & set(value))),)
    if len(kinds) == 1:
        return _value(kinds[0], value, key, source)
    for kind in kinds:
        with suppress(ConfigError):
            return _value(kind, value, key, source)
    raise _wrong_type(value, " or ".join(map(_type_name, kinds)), key, source)


def _literal(choices: tuple[Any, ...], value: Any, key: str, source: str) -> Any:
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return value
    meant = nearest(str(value), [str(choice) for choice in choices])
    raise ConfigError(
        f"{source}: `{key}` is not one of its choices",
        found=_shown(value),
        expected=list(choices),
        remedy=f"did you mean {meant}?" if meant else None,
    )


def _tuple(kinds: tuple[Any, ...], value: Any, key: str, source: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise _wrong_type(value, "a list", key, source)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise _wrong_type(value, f"a list of {len(kinds)}", key, source)
    return tuple(
        _value(kind, item, f"{key}[{i}]", source) for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _mapping(kinds: tuple[Any, ...], value: Any, key: str, source: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise _wrong_type(value, "a mapping", key, source)
    return {
        _value(kinds[0], name, f"{key} (a key)", source): _value(kinds[1], item, _join(key, str(name)), source)
        for name, item in value.items()
    }


def _set(result: dict[str, Any], parts: Sequence[str], value: Any, override: str) -> None:
    for i, part in enumerate(parts[:-1]):
        result = result.setdefault(part, {})
        if not isinstance(result, dict):
            raise ConfigError(
                f"override {override}: `{'.'.join(parts[: i + 1])}` holds no keys",
                found=_shown(result),
                expected="a mapping",
            )
    result[parts[-1]] = value


def _known(cls: Any) -> list[str]:
    return [field.name for field in fields(cls) if field.init]


def _required(cls: Any) -> list[str]:
    return [f.name for f in fields(cls) if f.init and f.default is MISSING and f.default_factory is MISSING]


def _unknown(name: str, known: Sequence[str], key: str, source: str) -> ConfigError:
    meant = nearest(name, known)
    return ConfigError(
        f"{source}: unknown key `{_join(key, name)}`",
        found=name,
        expected=list(known),
        remedy=f"did you mean `{_join(key, meant)}`?" if meant else f"remove `{_join(key, name)}`",
    )


def _wrong_type(value: Any, expected: str, key: str, source: str) -> ConfigError:
    where = f"`{key}`" if key else "the whole"
    return ConfigError(f"{source}: {where} has the wrong type", found=_shown(value), expected=expected)


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _shown(value: Any) -> str:
    return "nothing (null)" if value is None else f"{value!r} ({type(value).__name__})"


def _type_name(kind: Any) -> str:
    if kind is type(None):
        return "null"
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(map(_type_name, get_args(kind)))
    return kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind).replace("typing.", "")
