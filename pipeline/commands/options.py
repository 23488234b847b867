"""What all commands share: places read from the environment, and how results are printed."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..place import Place, parse_place

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout; no progress bars.")]


def hash_cache() -> Path:
    """Folder that remembers file hashes (``$XDG_CACHE_HOME/visual-thought``)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "visual-thought"


def store_cache() -> Path:
    """Folder of local copies of remote stores."""
    return hash_cache() / "stores"


def store_place(text: str) -> Place:
    """A store as it is named on a command line: a folder or a URL. ConfigError for a URL that cannot be a store's."""
    return parse_place(text, cache=store_cache())


def lerobot_home() -> Path | None:
    """LeRobot's home, if the environment names one."""
    home = os.environ.get("HF_LEROBOT_HOME")
    return Path(home) if home else None


def answer(result: Any, text: str, as_json: bool) -> None:
    """Print a result on stdout: as one JSON object, or as text for people."""
    print(json.dumps(result, indent=1, default=str) if as_json else text)


def named(text: str) -> tuple[str, ...]:
    """The names of a comma-separated list."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def say(line: str) -> None:
    """Tell a person something, on stderr."""
    print(line, file=sys.stderr, flush=True)


class _Stderr(logging.Handler):
    """Tells people what the package warns of, on stderr as it is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.levelname.lower()}: {record.getMessage()}")


def show_warnings() -> None:
    """Show the package's own warnings on stderr; asking twice shows them once."""
    log = logging.getLogger("visual_thought")
    if not any(isinstance(handler, _Stderr) for handler in log.handlers):
        log.addHandler(_Stderr(logging.WARNING))
