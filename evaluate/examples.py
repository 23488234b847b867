"""Which rows are shown, by rules that never look at how well a row was answered.

Each rule is said in the caption of its figure. Only :func:`typical` looks at scores, to take the median one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from .rows import LabelledRows

BEFORE, AFTER = ("approach",), ("lift", "carry", "place")


@dataclass(frozen=True)
class Example:
    """Rows to show side by side.

    Args:
        name: the figure's file name without its ending.
        rows: row numbers, left to right.
        title: one line above the panels.
        rule: how the rows were chosen, in a sentence.
    """

    name: str
    rows: tuple[int, ...]
    title: str
    rule: str


def choose_examples(rows: LabelledRows, top_scores: Float[np.ndarray, " n"]) -> tuple[Example, ...]:
    """Every example that the rows can give, in the order of the figures; none where a rule finds nothing.

    Args:
        rows: the split's rows.
        top_scores: the head's highest cell score of each row.
    """
    found = (two_views(rows), before_and_after(rows), two_executions(rows), typical(rows, top_scores))
    return tuple(example for example in found if example)


def two_views(rows: LabelledRows) -> Example | None:
    """One moment before the grasp from every camera (as the paper's figure 4)."""
    cameras = sorted(rows.geometry)
    for moment in _moments(rows, _positive_in(rows, BEFORE)):
        if [rows.camera[row] for row in moment] == cameras:
            rule = "the first moment before the grasp at which every camera has the instructed target in view"
            title = f"{_quoted(rows, moment[0])}, one moment from {len(moment)} cameras"
            return Example("grounding_two_views", moment, title, rule)
    return None


def before_and_after(rows: LabelledRows) -> Example | None:
    """One execution before and after its grasp, same camera and instruction: the target moves from cube to box."""
    before, after = _positive_in(rows, BEFORE), _positive_in(rows, AFTER)
    for run in _executions(rows, before | after):
        early, late = run[before[run]], run[after[run]]
        if early.size and late.size:
            rule = "the first execution with the target in view in both phases; of each phase its middle frame"
            pair = (_middle(early), _middle(late))
            title = f"{_quoted(rows, pair[0])}, before and after the grasp"
            return Example("grounding_before_after", pair, title, rule)
    return None


def two_executions(rows: LabelledRows) -> Example | None:
    """Two executions after their grasps (as the paper's figure 5): the box is relevant in both."""
    chosen: dict[int, int] = {}
    for run in _executions(rows, _positive_in(rows, AFTER)):
        chosen.setdefault(int(rows.episode[run[0]]), _middle(run))
    if len(chosen) < 2:
        return None
    rule = "the first two episodes with a target in view after the grasp; of each its middle frame after the grasp"
    return Example("grounding_two_executions", tuple(chosen.values())[:2], "After the grasp, two executions", rule)


def typical(rows: LabelledRows, top_scores: Float[np.ndarray, " n"]) -> Example | None:
    """The positive and the negative row with the median score, neither the best nor the worst."""
    placed = np.isin(np.array(rows.camera, dtype=object), sorted(rows.geometry))  # cells can be drawn
    kinds = [np.flatnonzero(placed & rows.positive), np.flatnonzero(placed & ~rows.positive)]
    medians = tuple(_middle(kind[np.argsort(top_scores[kind], kind="stable")]) for kind in kinds if kind.size)
    if not medians:
        return None
    rule = "the positive row and the negative row whose highest cell score is the median of their kind"
    return Example("grounding_typical", medians, "A typical positive and a typical negative example", rule)


def _positive_in(rows: LabelledRows, phases: Sequence[str]) -> Bool[np.ndarray, " n"]:
    return rows.positive & np.isin(np.array(rows.phase, dtype=object), phases)


def _moments(rows: LabelledRows, wanted: Bool[np.ndarray, " n"]) -> list[tuple[int, ...]]:
    """Wanted rows of one (episode, frame, instruction), cameras in order; moments in order of those three."""
    moments: dict[tuple[int, int, str], list[int]] = {}
    for row in np.flatnonzero(wanted):
        moments.setdefault((int(rows.episode[row]), int(rows.frame[row]), rows.instruction[row]), []).append(int(row))
    return [tuple(sorted(moments[key], key=lambda row: rows.camera[row])) for key in sorted(moments)]


def _executions(rows: LabelledRows, wanted: Bool[np.ndarray, " n"]) -> list[Int[np.ndarray, " m"]]:
    """Wanted rows of one (episode, camera, instruction) in order of frames; executions in order of those three."""
    runs: dict[tuple[int, str, str], list[int]] = {}
    for row in np.flatnonzero(wanted):
        runs.setdefault((int(rows.episode[row]), rows.camera[row], rows.instruction[row]), []).append(int(row))
    return [np.array(sorted(runs[key], key=lambda row: int(rows.frame[row]))) for key in sorted(runs)]


def _middle(chosen: Int[np.ndarray, " m"]) -> int:
    return int(chosen[(len(chosen) - 1) // 2])


def _quoted(rows: LabelledRows, row: int) -> str:
    return f"“{rows.instruction[row]}”"
