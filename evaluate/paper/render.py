"""Tables as text, in one of four forms."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...pipeline.errors import ConfigError, MachineError
from ...train.folder import replace
from .latex import latex
from .markdown import markdown
from .table import PaperTable
from .terminal import terminal

SCHEMA = 1
ENDINGS = {"terminal": "txt", "markdown": "md", "latex": "tex", "json": "json"}


def render(table: PaperTable, form: str = "terminal") -> str:
    """One table as text; ConfigError for a form there is none of."""
    forms: Mapping[str, Callable[[PaperTable], str]] = {
        "terminal": terminal,
        "markdown": markdown,
        "latex": latex,
        "json": lambda one: json.dumps(one.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
    }
    if form not in forms:
        raise ConfigError(f"there is no format {form!r}", expected=list(forms))
    return forms[form](table)


def tables_json(tables: Sequence[PaperTable]) -> dict[str, Any]:
    """Several tables as plain data."""
    return {"schema": SCHEMA, "tables": [table.to_json() for table in tables]}


def write_tables(tables: Sequence[PaperTable], out: Path) -> tuple[Path, ...]:
    """Write ``table<number>`` as ``.txt``, ``.md``, ``.tex`` and ``.json`` into a folder, each in one step.

    Raises:
        MachineError: it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(f"{out} cannot be made", found=error.strerror) from None
    written = []
    for table in tables:
        for form, ending in ENDINGS.items():
            path = out / f"table{table.number}.{ending}"
            replace(path, render(table, form).encode())
            written.append(path)
    return tuple(written)
