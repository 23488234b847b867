"""The run's log: one JSON line a measurement, and the same numbers for whoever watches."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .boards import Board

FILE = "metrics.jsonl"


class Journal:
    """Appends to ``metrics.jsonl``; lines of steps after ``start`` (of a stopped run) are dropped first.

    A line holds ``kind`` (train or validation), ``step``, ``contender``, for a validation ``split``, and the numbers;
    what was not measured is null.

    Args:
        run_dir: the run folder; None keeps nothing.
        start: the step to go on from.
        boards: who else gets the numbers.
    """

    def __init__(self, run_dir: Path | None, *, start: int = 0, boards: Sequence[Board] = ()) -> None:
        path = Path(os.devnull) if run_dir is None else run_dir / FILE
        if run_dir is not None:
            _keep_until(path, start)
        self._file, self._boards = path.open("a", encoding="utf-8"), boards

    def write(self, kind: str, step: int, contender: str, values: Mapping[str, float], *, split: str = "") -> None:
        """Log numbers of one contender at one step (optimiser steps done)."""
        labels = {"kind": kind, "step": step, "contender": contender} | ({"split": split} if split else {})
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps(labels | finite) + "\n")
        self._file.flush()
        for board in self._boards:
            board.add(step, {f"{split or kind}/{name}/{contender}": value for name, value in values.items()})

    def note(self, step: int, text: str) -> None:
        """Log a sentence."""
        self._file.write(json.dumps({"kind": "note", "step": step, "text": text}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        for board in self._boards:
            board.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_journal(run_dir: Path) -> list[dict[str, Any]]:
    """All lines of a run's log, in order; an unfinished last line is left out."""
    try:
        lines = (run_dir / FILE).read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines[:-1]]


def _keep_until(path: Path, step: int) -> None:
    kept = [line for line in read_journal(path.parent) if line["step"] <= step]
    temporary = path.with_name(f".{path.name}")
    temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
    temporary.replace(path)
