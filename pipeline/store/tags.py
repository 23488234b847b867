"""What a remote place called the small files of a local copy when they were fetched: a word that changes with a file.

Such a file is made again only after a repair took it away. The words are a hint that costs a download if it is wrong
or lost, so the file that holds them is simply replaced.
"""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path


def read_tags(path: Path) -> dict[str, str]:
    """The words by file name; none if they cannot be read."""
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return {name: tag for name, tag in said.items() if isinstance(tag, str)} if isinstance(said, dict) else {}


def write_tags(path: Path, tags: Mapping[str, str]) -> None:
    """Replace the words; a full disk or a folder that cannot be written costs downloads later and nothing now."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        temporary.write_text(json.dumps(dict(tags)))
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
