"""The run's log: one JSON line a measurement, and the same numbers for TensorBoard."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

FILE = "metrics.jsonl"


class Journal:
    """Appends to ``metrics.jsonl``; lines of steps after ``start`` (of a stopped run) are dropped first.

    A line holds ``kind`` (train or validation), ``step``, ``contender``, for a validation ``split``, and the numbers;
    what was not measured is null.
    """

    def __init__(self, run_dir: Path, *, start: int, tensorboard: bool) -> None:
        self._path = run_dir / FILE
        _keep_until(self._path, start)
        self._file = self._path.open("a", encoding="utf-8")
        self._board = _tensorboard(run_dir / "tensorboard", start) if tensorboard else None

    def write(self, kind: str, step: int, contender: str, values: Mapping[str, float], *, split: str = "") -> None:
        """Log numbers of one contender at one step (optimiser steps done)."""
        labels = {"kind": kind, "step": step, "contender": contender} | ({"split": split} if split else {})
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps(labels | finite) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{split or kind}/{name}/{contender}", value, step)

    def note(self, step: int, text: str) -> None:
        """Log a sentence."""
        self._file.write(json.dumps({"kind": "note", "step": step, "text": text}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()

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


def _tensorboard(folder: Path, start: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=start + 1)
