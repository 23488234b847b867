"""Controls that training does not know, from the ``metrics.json`` that ``vtt eval`` leaves in a run folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "eval/metrics.json"
UNTRAINED = ("centre_prior",)
"""Contenders of an evaluation that are in no training log."""


def judged(run_dir: Path, contender: str) -> Mapping[str, float]:
    """Validation numbers of a contender as ``val.<name>``; none where no evaluation tells them."""
    try:
        data = json.loads((run_dir / FILE).read_text(encoding="utf-8"))
        reports = [report for report in data["runs"] if str(run_dir.resolve()).endswith(f"/{report['run']}")]
        found: Any = reports[0]["contenders"][contender]
        scores = found["scores"] if reports[0]["split"] == "val" else found["val"]
        losses = found.get("losses", {}).get("val", {})
        numbers = {**scores, **losses}.items()
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}
    return {f"val.{name}": float(value) for name, value in numbers if type(value) in (int, float)}
