"""What a sweep has come to: ``sweep.json`` and a table."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...pipeline.errors import ConfigError
from ..checkpoint import HEAD
from .cells import Entry
from .intervals import Interval

FILE = "sweep.json"
SCHEMA = 1


@dataclass(frozen=True)
class Outcome:
    """One run of a sweep.

    Args:
        cell: its cell.
        seed: its seed.
        status: ``finished``, ``failed`` or ``pending``.
        run: its folder, relative to the sweep's.
        parameters: trained numbers of the head.
        step: of the head's best checkpoint.
        metrics: contender -> validation metrics of its best checkpoint.
        reason: why it failed.
    """

    cell: str
    seed: int
    status: str
    run: str
    parameters: int
    step: int | None = None
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True)
class SweepResult:
    """All runs of a sweep, and the lines of its table.

    Args:
        out: the sweep's folder.
        source: the sweep file.
        file: its content, as plain data.
        entries: the lines of the table.
        metrics: what the table shows.
        outcomes: one a run.
    """

    out: Path
    source: str
    file: Mapping[str, Any]
    entries: tuple[Entry, ...]
    metrics: tuple[str, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> list[Outcome]:
        """Runs that failed."""
        return [outcome for outcome in self.outcomes if outcome.status == "failed"]

    def interval(self, cell: str, contender: str, metric: str) -> Interval:
        """Mean and interval of one metric over the seeds of a cell."""
        runs = [outcome for outcome in self.outcomes if outcome.cell == cell]
        return Interval.of([run.metrics.get(contender, {}).get(metric) for run in runs])

    def to_json(self) -> dict[str, Any]:
        """As plain data, every contender and metric of every cell included."""
        return {
            "schema": SCHEMA,
            "source": self.source,
            "file": dict(self.file),
            "metrics": list(self.metrics),
            "entries": [asdict(entry) for entry in self.entries],
            "cells": {cell: self._cell(cell) for cell in dict.fromkeys(entry.cell for entry in self.entries)},
            "runs": [asdict(outcome) for outcome in self.outcomes],
            "failed": [f"{outcome.cell}/seed-{outcome.seed}: {outcome.reason}" for outcome in self.failed],
        }

    def _cell(self, cell: str) -> dict[str, Any]:
        runs = [outcome for outcome in self.outcomes if outcome.cell == cell]
        names = {name: list(values) for run in runs for name, values in run.metrics.items()}
        return {
            name: {metric: asdict(self.interval(cell, name, metric)) for metric in metrics if metric != "step"}
            for name, metrics in names.items()
        }

    def write(self) -> None:
        """Write ``sweep.json`` in one step."""
        path = self.out / FILE
        temporary = path.with_name(f".{FILE}.{os.getpid()}")
        temporary.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)

    def render(self) -> str:
        """The table: a line a value of each block, then what failed."""
        head = ["", "block", "", "params", "seeds", *self.metrics]
        cells = [head, *(self._line(entry) for entry in self.entries)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
        return "\n".join([*lines, *self._notes()])

    def _line(self, entry: Entry) -> list[str]:
        runs = [outcome for outcome in self.outcomes if outcome.cell == entry.cell]
        told = ", ".join(f"{key.rpartition('.')[2]}={_short(value)}" for key, value in entry.values.items())
        done = sum(run.status == "finished" for run in runs)
        values = [self.interval(entry.cell, HEAD, metric).render() for metric in self.metrics]
        arrow = "→" if entry.carried else ""
        return [arrow, entry.block, told, f"{runs[0].parameters:,}", f"{done} of {len(runs)}", *values]

    def _notes(self) -> Iterator[str]:
        yield "mean ± 95% interval (Student's t) over seeds, of each run's best checkpoint on the validation split"
        if self.failed:
            yield f"{len(self.failed)} of {len(self.outcomes)} runs failed:"
        for outcome in self.failed:
            yield f"  {outcome.cell}/seed-{outcome.seed}: {outcome.reason}"


def read_outcomes(out: Path) -> dict[tuple[str, int], Outcome]:
    """The runs of an earlier sweep into a folder, by cell and seed; none if there was none.

    Raises:
        ConfigError: ``sweep.json`` is damaged or of a newer layout.
    """
    try:
        data = json.loads((out / FILE).read_text(encoding="utf-8"))
        if data["schema"] > SCHEMA:
            raise ConfigError(f"{out / FILE} was written by a newer version", expected=f"schema {SCHEMA} or older")
        found = [Outcome(**run) for run in data["runs"]]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{out / FILE} is damaged", found=error, remedy="remove it: its runs are kept") from None
    return {(outcome.cell, outcome.seed): outcome for outcome in found}


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "x".join(map(_short, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
