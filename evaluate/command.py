"""The command line that asks for an evaluation again."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from .config import EvalConfig

FLAGS = ("compare",)
NAMED = (
    "split", "checkpoint", "threshold", "precision", "batch_size", "device", "store", "manifest", "root", "compare",
    "random_init", "random_init_store",
)  # fmt: skip
"""Options of ``vtt eval`` that change what is judged or how; said where they are not the default."""


def command_of(config: EvalConfig) -> tuple[str, ...]:
    """The words to type, folders as absolute paths; options that were left alone are left out."""
    runs = (str(run.absolute()) for run in config.runs)
    return ("vtt", "eval", *runs, "--out", str(config.out.absolute()), *_options(config))


def _options(config: EvalConfig) -> Iterator[str]:
    defaults = {field.name: field.default for field in fields(EvalConfig)}
    for name in NAMED:
        value: Any = getattr(config, name)
        if value == defaults[name]:
            continue
        yield f"--{name.replace('_', '-')}"
        if name not in FLAGS:
            yield _typed(value, is_file=name == "manifest" and Path(value).exists())
    if not config.figures:
        yield "--no-figures"


def _typed(value: Any, *, is_file: bool) -> str:
    """A value as it is typed anywhere; a manifest may be a name or a file."""
    return str(Path(value).absolute()) if is_file or isinstance(value, Path) else str(value)
