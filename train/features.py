"""The features a recipe names, where the store lacks them: what is there, and which command makes the others."""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from ..pipeline.errors import ConfigError
from ..pipeline.registry import MADE_BY
from ..pipeline.store import FeatureStore
from ..pipeline.store.array import ArrayRef
from ..pipeline.store.receipt import read_receipt
from ..pipeline.store.survey import command_of
from .config import TrainConfig

USUAL = {"xvla": "lerobot/xvla-base", "dinov2": "facebook/dinov2-base"}
"""The checkpoint that is meant where a store says of none."""

_KIND = re.compile(r"([a-z][a-z0-9_-]*)=")
_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_NAME = re.compile(r"([a-z][a-z0-9_]*?)(\d+)?(-[0-9a-f]{8})?")


def refuse_absent_features(store: FeatureStore, config: TrainConfig) -> None:
    """ConfigError if the recipe names features that the store has not.

    The command that would make them repeats the backbone that made the others, if receipts say which it was.
    """
    specs = store.features()
    known = {*specs, *(spec.name for spec in specs.values())}
    absent = [feature for feature in config.features.values() if feature not in known]
    if absent:
        raise ConfigError(
            f"{store.place} has no feature {', '.join(map(repr, absent))}",
            found=sorted(specs),
            expected=[f"{name}: {feature}" for name, feature in config.features.items()],
            remedy=f"correct the recipe's `features`{_extraction(store, config, absent)}",
        )


def making_commands(store: FeatureStore, keys: Mapping[str, str]) -> dict[str, str]:
    """The command that made each feature, by the task's names, as far as receipts say."""
    arrays = store.arrays()
    found = {name: _command(store, [array for array in arrays if array.key == key]) for name, key in keys.items()}
    return {name: command for name, command in found.items() if command is not None}


def backbones_of(command: str) -> Iterator[tuple[str, str]]:
    """(kind, word) of every ``--backbone`` in a command that extracted something."""
    try:
        words = shlex.split(command)
    except ValueError:  # a receipt may say anything
        return
    for option, word in pairwise(words):
        if option == "--backbone":
            match = _KIND.match(word.partition("?")[0])
            yield (match[1] if match else "xvla"), word


def hub_checkpoints(commands: Iterable[str]) -> list[tuple[str, str | None]]:
    """(``owner/name``, revision) of the backbones on the Hub that these commands name, each once."""
    found: dict[tuple[str, str | None], None] = {}
    for command in commands:
        alone = _option(command, "--revision")
        for _, word in backbones_of(command):
            named, _, query = word.partition("?")
            checkpoint = named.rpartition("=")[2]
            own = next((pair[9:] for pair in query.split("&") if pair.startswith("revision=")), alone)
            if _HUB.fullmatch(checkpoint):
                found[checkpoint, own] = None
    return list(found)


def _option(command: str, name: str) -> str | None:
    words = command.split()
    return next((word for option, word in pairwise(words) if option == name), None)


def _command(store: FeatureStore, arrays: list[ArrayRef]) -> str | None:
    for array in arrays:
        for part in array.finished_parts()[:1]:
            command = command_of([read_receipt(store.path, array.receipt_path(part))])
            if command is not None:
                return command
    return None


def _extraction(store: FeatureStore, config: TrainConfig, absent: list[str]) -> str:
    """What makes those of the features that a backbone is known to make, as the end of a sentence."""
    names = {feature: kind for feature in map(_plain_name, absent) if (kind := _maker(feature)) is not None}
    if not names:
        return ""
    commands = making_commands(store, {key: key for key in store.features()}).values()
    used = {kind: word for command in commands for kind, word in backbones_of(command)}
    words = ["vtt", "extract", config.manifest, "--store", str(config.store)]
    for kind in dict.fromkeys(names.values()):
        words += ["--backbone", used.get(kind, _usual(kind))]
    return f", or run `{shlex.join([*words, '--features', ','.join(names)])}`"


def _maker(feature: str) -> str | None:
    """The backbone that makes a feature; a number after the name is that of a layer."""
    match = _NAME.fullmatch(feature)
    return MADE_BY.get(match[1]) if match else None


def _plain_name(feature: str) -> str:
    return feature.partition("-")[0]


def _usual(kind: str) -> str:
    checkpoint = USUAL.get(kind, "CHECKPOINT")
    return checkpoint if kind == "xvla" else f"{kind}={checkpoint}"
