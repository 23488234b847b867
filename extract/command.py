"""The command line of an extraction, so that whoever finds a part damaged knows how to make it again."""

import shlex
from pathlib import Path

from .config import ExtractConfig

_DEFAULTS = ExtractConfig("", Path())


def remake_command(config: ExtractConfig) -> str:
    """``vtt extract …``: what changes a number or a file, and nothing about this machine or this run.

    Paths are absolute, so that the command works from any folder.
    """
    words = ["vtt", "extract", _absolute(config.manifest), "--store", str(config.store.absolute())]
    words += ["--backbone", _absolute(config.checkpoint)]
    if config.checkpoint_revision is not None:
        words += ["--revision", config.checkpoint_revision]
    words += ["--features", ",".join(config.features)]
    if config.dtype != _DEFAULTS.dtype:
        words += ["--dtype", config.dtype]
    if config.batch_size != _DEFAULTS.batch_size:
        words += ["--batch-size", str(config.batch_size)]
    if config.on_error != _DEFAULTS.on_error:
        words += ["--on-error", config.on_error]
    return shlex.join(words)


def _absolute(name: str | Path) -> str:
    """A path that is there as an absolute one; the name of a shipped manifest or of a Hub checkpoint as it is."""
    return str(Path(name).absolute()) if Path(name).exists() else str(name)
