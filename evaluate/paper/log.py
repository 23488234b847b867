"""The validations of a run, from its log, with every line checked."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...pipeline.errors import VisualThoughtError
from ...train.journal import FILE

LABELS = ("kind", "step", "contender", "split")
TERMS = ("coarse", "refine")
"""Terms of a loss that a contender of its task may lack."""
STOPPED_EARLY = "stopped early"


@dataclass(frozen=True)
class Log:
    """What a run measured of itself.

    Args:
        validations: (contender, split) -> step -> numbers, steps in order; None for what had no value there.
        stopped_early: whether the run ended before its last step because it no longer got better.
    """

    validations: Mapping[tuple[str, str], Mapping[int, Mapping[str, float | None]]]
    stopped_early: bool = False

    def steps(self, contender: str = "head") -> tuple[int, ...]:
        """The steps at which a contender was judged on the validation split."""
        return tuple(sorted(self.validations.get((contender, "val"), {})))

    def number(self, contender: str, split: str, step: int, metric: str) -> float | None:
        """One number; None where it was not measured."""
        return self.validations.get((contender, split), {}).get(step, {}).get(metric)

    def terms(self, contender: str) -> frozenset[str]:
        """Which of the terms a contender's validation loss has."""
        steps = self.validations.get((contender, "val"), {}).values()
        return frozenset(name for numbers in steps for name in TERMS if name in numbers)

    @property
    def contenders(self) -> tuple[str, ...]:
        """The head and its controls, as far as they were judged."""
        return tuple(name for name, split in self.validations if split == "val")


def read_log(run_dir: Path) -> Log:
    """The log of a run; an empty one if it has none. A line that is cut off at the end of the file is left out.

    Raises:
        VisualThoughtError: a damaged line, named.
    """
    found: dict[tuple[str, str], dict[int, Mapping[str, float | None]]] = {}
    stopped = False
    for line in _lines(run_dir / FILE):
        stopped |= line["kind"] == "note" and str(line.get("text", "")).startswith(STOPPED_EARLY)
        if line["kind"] == "validation":
            numbers = {key: value for key, value in line.items() if key not in LABELS}
            found.setdefault((line["contender"], line["split"]), {})[line["step"]] = numbers
    return Log(found, stopped)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise VisualThoughtError(f"{path} cannot be read", found=error.strerror) from None
    for number, line in enumerate(lines[:-1], start=1):
        try:
            value = json.loads(line, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            value = None
        if not _whole(value):
            raise VisualThoughtError(
                f"{path}, line {number} is damaged",
                found=line[:120].decode(errors="replace"),
                expected="one JSON object with kind, step and, for a validation, contender, split and numbers",
                remedy="restore the file from a copy, or remove that line: its validation is then missing",
            )
        yield value


def _whole(line: Any) -> bool:
    if not isinstance(line, dict) or not isinstance(line.get("kind"), str) or type(line.get("step")) is not int:
        return False
    if line["kind"] != "validation":
        return True
    named = isinstance(line.get("contender"), str) and isinstance(line.get("split"), str)
    numbers = (value for key, value in line.items() if key not in LABELS)
    return named and all(value is None or type(value) in (int, float) for value in numbers)
