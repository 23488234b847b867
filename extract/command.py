"""The command line of an extraction, so that whoever finds a part damaged knows how to make it again."""

import os
import shlex
from dataclasses import replace
from pathlib import Path

from .config import ExtractConfig
from .naming import name_backbone

_DEFAULTS = ExtractConfig("", Path())


def remake_command(config: ExtractConfig, batch_size: int | None = None) -> str:
    """``vtt extract …``: what changes a number or a file, and nothing about this machine or this run.

    Paths are absolute, so that the command works from any folder.

    Args:
        config: what was asked for.
        batch_size: frames a batch, if the config leaves the choice to the extraction.
    """
    words = ["vtt", "extract", _absolute(config.manifest), "--store", str(config.store.absolute())]
    words += _backbones(config)
    if config.dtype != _DEFAULTS.dtype:
        words += ["--dtype", config.dtype]
    if config.store_format != _DEFAULTS.store_format:
        words += ["--store-format", config.store_format]
    size = batch_size or config.batch_size
    if size != _DEFAULTS.batch_size:
        words += ["--batch-size", str(size)]
    if config.compile:
        words += ["--compile"]
    if config.nan != _DEFAULTS.nan:
        words += ["--nan", config.nan]
    if config.on_error != _DEFAULTS.on_error:
        words += ["--on-error", config.on_error]
    return shlex.join(words)


def _backbones(config: ExtractConfig) -> list[str]:
    """Several backbones hold their own settings; of one alone, revision and features are options of the command."""
    if len(config.chosen) > 1:
        words = [word for backbone in config.chosen for word in ("--backbone", name_backbone(backbone))]
        return [*words, *(["--features", ",".join(config.features)] if config.features else [])]
    (alone,) = config.chosen
    words = ["--backbone", name_backbone(replace(alone, features=(), revision=None))]
    words += [] if alone.revision is None else ["--revision", alone.revision]
    features = alone.features or config.features
    return [*words, "--features", ",".join(features)] if features else words


def _absolute(name: str | Path) -> str:
    """A path that is there as an absolute one; the name of a shipped manifest or of a Hub checkpoint as it is."""
    return os.path.abspath(name) if Path(name).exists() else str(name)
