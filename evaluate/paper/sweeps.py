"""A sweep's folder: the lines of its table, and where the runs behind them are."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...pipeline.errors import VisualThoughtError
from ...train.sweep.cells import Entry

FILE = "sweep.json"
SCHEMA = 1


@dataclass(frozen=True)
class PaperSweep:
    """One sweep.

    Args:
        folder: where it is.
        entries: the lines of its table, block by block.
        runs: cell -> run folders, those that exist.
        notes: runs that failed or were not trained yet.
    """

    folder: Path
    entries: tuple[Entry, ...]
    runs: Mapping[str, tuple[Path, ...]]
    notes: tuple[str, ...] = ()


def read_sweep(folder: Path) -> PaperSweep:
    """The sweep of a folder that holds ``sweep.json``.

    Raises:
        VisualThoughtError: it is damaged, or of a newer layout.
    """
    path = folder / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] > SCHEMA:
            raise VisualThoughtError(f"{path} was written by a newer version", expected=f"schema {SCHEMA} or older")
        entries = tuple(Entry(**entry) for entry in data["entries"])
        listed = [(str(run["cell"]), _inside(folder, run["run"]), run) for run in data["runs"]]
        notes = tuple(_note(run) for _, path, run in listed if _is_missing(path, run))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise VisualThoughtError(
            f"{path} is damaged",
            found=f"{type(error).__name__}: {error}",
            remedy="name the run folders below it instead: they are whole without it",
        ) from None
    runs: dict[str, tuple[Path, ...]] = {entry.cell: () for entry in entries}
    for cell, run, _ in listed:
        if (run / "run.json").is_file():
            runs[cell] = (*runs.get(cell, ()), run)
    return PaperSweep(folder, entries, runs, notes)


def _inside(folder: Path, name: Any) -> Path:
    path = folder / str(name)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"the run {name} lies outside the sweep")
    return path


def _is_missing(path: Path, run: Mapping[str, Any]) -> bool:
    """Whether nothing but the sweep's own file tells of it: it failed, or never began."""
    return run["status"] == "failed" or not (path / "run.json").is_file()


def _note(run: Mapping[str, Any]) -> str:
    reason = f": {run['reason']}" if run.get("reason") else ""
    told = "failed" if run["status"] == "failed" else "has not begun"
    return f"{run['run']} {told}{reason}"
