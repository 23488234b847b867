"""What stays on this machine when a run is shared: where its folders lie."""

import re
from pathlib import PurePosixPath
from typing import Any

_ALONE = re.compile(r"(file://)?~?/[^\n]*")
_INSIDE = re.compile(r"(?:file://|(?<![\w:./~-]))~?/(?:[^\s/'\"=,;:]+/)*([^\s/'\"=,;:]+)")


def without_folders(value: Any) -> Any:
    """The same plain data with the last name of every absolute path in its texts, wherever it stands."""
    if isinstance(value, dict):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_folders(item) for item in value]
    return _shortened(value) if isinstance(value, str) else value


def _shortened(text: str) -> str:
    option, equals, word = text.partition("=")
    if equals and option.startswith("--") and _ALONE.fullmatch(word):
        return f"{option}={PurePosixPath(word).name}"
    if _ALONE.fullmatch(text) and " /" not in text:
        return PurePosixPath(text).name
    return _INSIDE.sub(lambda match: match[1], text)
