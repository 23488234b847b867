"""Controls that training does not know: from the ``metrics.json`` that ``vtt eval`` leaves in a run folder, or from an
evaluation that is just being written.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "eval/metrics.json"
UNTRAINED = ("target_mean", "centre_prior")
"""Contenders of an evaluation that need no training, and are in no log unless a run was told to train beside them."""

type Evaluated = Mapping[str, Mapping[str, float]]
"""Contender -> ``val.<name>`` -> its number on the validation split."""


def left_in(run_dir: Path) -> Evaluated:
    """What the last ``vtt eval`` into the run folder found; nothing where there was none, or it is of another run."""
    try:
        data = json.loads((run_dir / FILE).read_text(encoding="utf-8"))
        reports = [report for report in data["runs"] if str(run_dir.resolve()).endswith(f"/{report['run']}")]
        return evaluated(reports[0])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def evaluated(report: Mapping[str, Any]) -> Evaluated:
    """The same from a run's part of ``metrics.json``; raises LookupError, TypeError or AttributeError for any other."""
    found = {name: report["contenders"][name] for name in UNTRAINED if name in report["contenders"]}
    return {name: dict(_numbers(one, report["split"])) for name, one in found.items()}


def _numbers(contender: Mapping[str, Any], split: str) -> list[tuple[str, float]]:
    scores = contender["scores"] if split == "val" else contender["val"]
    numbers = {**scores, **contender.get("losses", {}).get("val", {})}
    return [(f"val.{name}", float(value)) for name, value in numbers.items() if type(value) in (int, float)]
