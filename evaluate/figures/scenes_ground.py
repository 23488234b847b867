"""Grounding scenes: one execution through time, and the worst answers, chosen from labelled rows and answers."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ...pipeline.metrics.grounding import sigmoid
from ..frames import Frames
from ..rows import LabelledRows
from .filmstrip import Filmstrip
from .gallery import Failure, FailureKind
from .missing import NoFigure
from .shown import Shown, panel_of

FILM_RULE = "the first execution whose relevant object changes; frames evenly spaced before and after it"
GALLERY_RULE = (
    "the worst first, cameras in turn as long as several have any left; no frame twice, and of an episode, camera and "
    "instruction one frame of each kind; of equals the first"
)
SHOWN_FRAMES, FAILURES = 5, 3


@dataclass(frozen=True)
class Execution:
    """One instruction carried out in one episode, seen by one camera.

    Args:
        rows: its labelled rows in order of frames, (n,).
        grasp: the first of them at which another object is relevant than at the start.
        source: what was relevant before.
        target: what is relevant from then on.
    """

    rows: Int[np.ndarray, " n"]
    grasp: int
    source: str
    target: str


def choose_execution(rows: LabelledRows) -> Execution:
    """The first execution, by episode, camera and instruction, in which relevance moves from one object to another.

    Raises:
        NoFigure: there is none.
    """
    groups: dict[tuple[int, str, str], list[int]] = {}
    for row in range(len(rows)):
        groups.setdefault((int(rows.episode[row]), rows.camera[row], rows.instruction[row]), []).append(row)
    for key in sorted(groups):
        own = np.array(sorted(groups[key], key=lambda row: int(rows.frame[row])))
        named = [(place, rows.target[row]) for place, row in enumerate(own) if rows.positive[row]]
        change = next((place for place, name in named if name != named[0][1]), None)
        if change is not None and rows.camera[own[0]] in rows.geometry:
            return Execution(own, change, named[0][1], rows.target[own[change]])
    raise NoFigure(
        "filmstrip",
        "no episode shows one object being relevant first and another one later",
        found=sorted(set(rows.target) - {""}),
        remedy="label the target by phase",
    )


def object_scores(shown: Shown, execution: Execution, name: str) -> Float[np.ndarray, " n"]:
    """The highest score of the cells of one object at every moment, (n,).

    Labels say where an object is only while it is relevant. At other moments its cells are those of the nearest moment
    in time at which it was: of what is taken the last place seen, of where it goes the first.
    """
    scores, own = sigmoid(shown.answers.logits[execution.rows]), execution.rows
    known = [place for place, row in enumerate(own) if shown.rows.positive[row] and shown.rows.target[row] == name]
    frame = shown.rows.frame[own]
    nearest = [min(known, key=lambda one: (abs(int(frame[one]) - int(now)), one)) for now in frame]
    return np.array([scores[place][shown.rows.cells[own[one]]].max() for place, one in enumerate(nearest)])


def film(shown: Shown, execution: Execution, frames: Frames, *, threshold: float) -> Filmstrip:
    """The filmstrip of an execution. Raises DatasetError for a picture that cannot be had."""
    moments = _spread(len(execution.rows), execution.grasp, SHOWN_FRAMES)
    panels = []
    for moment in moments:
        row = int(execution.rows[moment])
        panels.append(panel_of(shown, row, frames, threshold, heading=shown.rows.phase[row]))
    return Filmstrip(
        frame=shown.rows.frame[execution.rows].astype(np.float64),
        source_score=object_scores(shown, execution, execution.source),
        target_score=object_scores(shown, execution, execution.target),
        source=execution.source,
        target=execution.target,
        grasp=execution.grasp,
        shown=moments,
        panels=tuple(panels),
        threshold=threshold,
    )


def choose_failures(
    shown: Shown, threshold: float, *, count: int = FAILURES
) -> dict[str, tuple[Int[np.ndarray, " m"], int, int]]:
    """The worst rows of each kind: ``kind -> (rows shown, rows that failed, rows that could)``.

    False positive: a cell that is not relevant scores at least the threshold; the worst scores highest.
    False negative: no relevant cell does, though there is one; the worst scores lowest.
    """
    scores, cells, positive = sigmoid(shown.answers.logits), shown.rows.cells, shown.rows.positive
    wrongly = np.where(cells, -np.inf, scores).max(axis=1)
    rightly = np.where(cells, scores, -np.inf).max(axis=1)
    false, missed = wrongly >= threshold, positive & (rightly < threshold)
    drawable = np.array([camera in shown.rows.geometry for camera in shown.rows.camera], dtype=bool)
    worst = _distinct(shown.rows, np.flatnonzero(false & drawable), -wrongly, count)
    seen = {_frame(shown.rows, int(row)) for row in worst}
    others = np.array(
        [row for row in np.flatnonzero(missed & drawable) if _frame(shown.rows, int(row)) not in seen], int
    )
    return {
        "false positives": (worst, int(false.sum()), len(false)),
        "false negatives": (
            _distinct(shown.rows, others, rightly, count),
            int(missed.sum()),
            int(positive.sum()),
        ),
    }


def failures(shown: Shown, frames: Frames, *, threshold: float, count: int = FAILURES) -> tuple[FailureKind, ...]:
    """Both kinds of failures with their pictures. Raises DatasetError for one that cannot be had."""
    rules = {
        "false positives": "highest score of a cell that is not relevant",
        "false negatives": "lowest best score of the relevant cells",
    }
    found = choose_failures(shown, threshold, count=count)
    return tuple(
        FailureKind(
            name, rules[name], failed, of, tuple(_failure(shown, int(row), frames, threshold, name) for row in worst)
        )
        for name, (worst, failed, of) in found.items()
    )


def _failure(shown: Shown, row: int, frames: Frames, threshold: float, kind: str) -> Failure:
    rows, scores = shown.rows, sigmoid(shown.answers.logits[row])
    cells = rows.cells[row]
    if kind == "false positives":
        said = f"a cell off the target, score {scores[~cells].max():.2f}"
        if not rows.positive[row]:
            said = f"relevant, score {scores.max():.2f}"
    else:
        said = f"no cell on the target, its best {scores[cells].max():.2f}"
    phase = f" ({rows.phase[row]})" if rows.phase[row] else ""
    true = f"{rows.target[row] or 'something'} is relevant" if rows.positive[row] else "nothing asked for is relevant"
    place = f"episode {rows.episode[row]}, frame {rows.frame[row]}, {rows.camera[row]} camera"
    return Failure(panel_of(shown, row, frames, threshold), rows.instruction[row], said, true + phase, place)


def _distinct(
    rows: LabelledRows, chosen: Int[np.ndarray, " m"], badness: Float[np.ndarray, " n"], count: int
) -> Int[np.ndarray, " k"]:
    """The first few by rising ``badness``: no frame and no execution twice, cameras in turn while several are left."""
    order = [int(row) for row in chosen[np.argsort(badness[chosen], kind="stable")]]
    kept: list[int] = []
    while order and len(kept) < count:
        before = rows.camera[kept[-1]] if kept else None
        row = next((one for one in order if rows.camera[one] != before), order[0])
        kept.append(row)
        order = [one for one in order if not _alike(rows, one, row)]
    return np.array(kept, dtype=np.int64)


def _alike(rows: LabelledRows, one: int, other: int) -> bool:
    """Whether two rows show one frame, or one execution."""
    executions = [(int(rows.episode[row]), rows.camera[row], rows.instruction[row]) for row in (one, other)]
    return _frame(rows, one) == _frame(rows, other) or executions[0] == executions[1]


def _frame(rows: LabelledRows, row: int) -> tuple[int, int, str]:
    return int(rows.episode[row]), int(rows.frame[row]), rows.camera[row]


def _spread(moments: int, grasp: int, count: int) -> tuple[int, ...]:
    """Some moments before the grasp and some from it on, evenly spaced in each part, the grasp itself among them."""
    early = (count - 1) // 2
    before = np.linspace(0, grasp - 1, early + 1)[:early] if grasp else np.empty(0)
    after = np.linspace(grasp, moments - 1, count - early)
    return tuple(sorted({int(moment) for moment in np.concatenate([before, after]).round()}))
