"""What grounding contenders are told beyond counts: curves, calibration, and whether views and phases agree."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from ..pipeline.metrics.calibration import Calibration, calibrate
from ..pipeline.metrics.curves import CurvePoint, precision_recall_curve
from ..pipeline.metrics.grounding import hits, sigmoid
from ..pipeline.metrics.phases import PhaseShift, phase_shift
from ..pipeline.metrics.views import ViewConsistency, view_consistency
from .examples import AFTER, BEFORE
from .rows import Answers, LabelledRows

CURVE_POINTS = 100


@dataclass(frozen=True)
class Findings:
    """One contender on one split.

    Args:
        curve: precision and recall over all thresholds, thinned.
        calibration: scores against frequencies.
        views: whether the cameras of one moment agree.
        shift: whether relevance moves at the grasp.
    """

    curve: tuple[CurvePoint, ...]
    calibration: Calibration
    views: ViewConsistency
    shift: PhaseShift

    def numbers(self) -> dict[str, float | int | None]:
        """The figures among them, flat; None where nothing could be measured."""
        found: dict[str, float | int] = {
            "calibration_error": self.calibration.error,
            "scored_calibration_error": self.calibration.scored_error,
            "base_rate": self.calibration.base_rate,
            "brier": self.calibration.brier,
            "view_moments": self.views.moments,
            "views_same": self.views.same_rate,
            "views_right": self.views.right_rate,
            "shift_executions": self.shift.executions,
            "shift_moved": self.shift.moved_rate,
            "shift": self.shift.shift,
        }
        return {name: value if math.isfinite(value) else None for name, value in found.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``metrics.json``."""
        parts = asdict(self)
        return (
            self.numbers()
            | {name: _plain(part) for name, part in parts.items() if name != "shift"}
            | {"phase_shift": _plain(parts["shift"])}
        )


def find(answers: Answers, rows: LabelledRows) -> Findings:
    """Every finding about one contender."""
    scores = sigmoid(answers.logits)
    after = np.isin(np.array(rows.phase, dtype=object), AFTER)
    known = np.flatnonzero((after | np.isin(np.array(rows.phase, dtype=object), BEFORE)) & rows.positive)
    execution = numbered(rows, ("episode", "camera", "instruction"))
    return Findings(
        curve=precision_recall_curve(answers.logits, rows.cells, CURVE_POINTS),
        calibration=calibrate(answers.logits, rows.cells),
        views=_views(answers, rows),
        shift=phase_shift(scores[known], rows.cells[known], execution[known], rows.frame[known], after[known]),
    )


def landed(answers: Answers, rows: LabelledRows) -> tuple[str, ...]:
    """The object that each row's point lies on, its own target first; "" where no label of the frame is hit.

    Objects are known by the regions of all questions about the same frame, so an object that no question of that
    moment is about is not known, and a point on it is on nothing.
    """
    frames = numbered(rows, ("episode", "frame", "camera"))
    asked: dict[int, list[int]] = {}
    for row in np.flatnonzero(rows.positive):
        asked.setdefault(int(frames[row]), []).append(int(row))
    found = []
    for row in range(len(rows)):
        others = asked.get(int(frames[row]), [])
        ordered = sorted(others, key=lambda other: other != row)
        found.append(next((rows.target[other] for other in ordered if _lies_on(answers, row, rows, other)), ""))
    return tuple(found)


def numbered(rows: LabelledRows, names: tuple[str, ...]) -> Int[np.ndarray, " n"]:
    """A number for every different combination of these columns."""
    seen: dict[tuple[object, ...], int] = {}
    columns: list[Any] = [getattr(rows, name) for name in names]
    keys = zip(*(column.tolist() if isinstance(column, np.ndarray) else column for column in columns), strict=True)
    return np.array([seen.setdefault(key, len(seen)) for key in keys], dtype=np.int64)


def _views(answers: Answers, rows: LabelledRows) -> ViewConsistency:
    """Over positive rows whose region is known."""
    known = np.array([row for row in np.flatnonzero(rows.positive) if rows.region(int(row)) is not None], dtype=int)
    objects, moment = landed(answers, rows), numbered(rows, ("episode", "frame", "instruction"))
    return view_consistency(moment[known], [rows.target[row] for row in known], [objects[row] for row in known])


def _lies_on(answers: Answers, row: int, rows: LabelledRows, other: int) -> bool:
    region = rows.region(other)
    return region is not None and bool(hits(answers.points[row : row + 1], [region])[0])


def _plain(part: Any) -> Any:
    """The same with None for what is not a number."""
    if isinstance(part, Mapping):
        return {name: _plain(value) for name, value in part.items()}
    if isinstance(part, (list, tuple)):
        return [_plain(value) for value in part]
    return None if isinstance(part, float) and not math.isfinite(part) else part
