"""From chosen rows to picture files: fetch the frames, lay the head's answers over them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ..pipeline.metrics.grounding import sigmoid
from .examples import Example
from .figures.overlay import draw_overlay
from .figures.panel import Panel
from .figures.sweep import draw_sweep
from .report import RunReport
from .rows import Answers, LabelledRows

type Frames = Callable[[int, str, int], UInt8[np.ndarray, "h w 3"]]
"""(episode, camera, frame index) -> picture."""

ON_POSITIVE = "HIT: the predicted point lies on the true region; px off: from the region's innermost pixel."
ON_NEGATIVE = "SILENT, FALSE ALARM: the target is absent or not relevant now."


@dataclass(frozen=True)
class Shown:
    """The head's answers, ready to be laid over frames.

    Args:
        rows: the split's rows.
        answers: the head's answers to them.
        grid: the coarse grid.
        fine_grid: the grid whose cells the predicted points are centres of; the coarse grid without refinement.
    """

    rows: LabelledRows
    answers: Answers
    grid: tuple[int, int]
    fine_grid: tuple[int, int]


def draw_examples(shown: Shown, examples: Sequence[Example], frames: Frames, run: RunReport, folder: Path) -> list[str]:
    """Write one PNG an example; returns the file names."""
    names = []
    for example in examples:
        apart = _asks_apart(shown, example)
        panels = [
            panel_of(shown, row, frames, _threshold(run), heading=_heading(shown, row, apart)) for row in example.rows
        ]
        caption = f"{_places(shown.rows, example, run)} {_origin(run)} Shown by rule: {example.rule}."
        kinds = {bool(shown.rows.positive[row]) for row in example.rows}
        caption += f" {ON_POSITIVE}" * (True in kinds) + f" {ON_NEGATIVE}" * (False in kinds)
        path = folder / f"{example.name}.png"
        draw_overlay(panels, path, title=example.title, caption=caption, simulated=run.simulated)
        names.append(path.name)
    return names


def draw_sweeps(run: RunReport, folder: Path) -> str:
    """Write the threshold sweep of the head and every control; returns the file name."""
    path = folder / "threshold_sweep.png"
    sweeps = {contender.name.replace("_", " "): contender.sweep for contender in run.contenders}
    caption = f"{run.split.capitalize()} split of {run.dataset}, {run.head.scores.rows} rows. {_origin(run)}"
    draw_sweep(sweeps, path, threshold=_threshold(run), caption=caption, simulated=run.simulated)
    return path.name


def panel_of(shown: Shown, row: int, frames: Frames, threshold: float, *, heading: str = "") -> Panel:
    """One row's frame with the head's answer. Raises DatasetError for a picture that cannot be had."""
    rows, geometry = shown.rows, shown.rows.geometry[shown.rows.camera[row]]
    column_edges, row_edges = geometry.cell_edges(shown.grid)
    point = shown.answers.points[row]
    known = bool(rows.positive[row])
    return Panel(
        frame=frames(int(rows.episode[row]), rows.camera[row], int(rows.frame[row])),
        scores=sigmoid(shown.answers.logits[row]).reshape(shown.grid),
        column_edges=column_edges,
        row_edges=row_edges,
        sub_cell=_sub_cell(shown, row),
        point=(float(point[0]), float(point[1])),
        region=rows.region(row),
        true_point=(float(rows.points[row, 0]), float(rows.points[row, 1])) if known else None,
        heading=heading,
        threshold=threshold,
    )


def _heading(shown: Shown, row: int, with_instruction: bool) -> str:
    rows = shown.rows
    score = sigmoid(shown.answers.logits[row]).max()
    asked = [f"“{rows.instruction[row]}”"] if with_instruction else []
    wanted = f"relevant: {rows.target[row] or 'unnamed'}" if rows.positive[row] else "nothing is relevant"
    place = " · ".join(filter(None, (f"{rows.camera[row]} camera", rows.phase[row])))
    return "\n".join([*asked, f"{wanted} · highest score {score:.2f}", place])


def _sub_cell(shown: Shown, row: int) -> tuple[float, float, float, float]:
    """The fine cell around the predicted point as (left, top, right, bottom), frame pixels."""
    geometry = shown.rows.geometry[shown.rows.camera[row]]
    x, y = geometry.cell_edges(shown.fine_grid)
    cell = geometry.cell_of(shown.answers.points[row : row + 1], shown.fine_grid)[0]
    line, column = divmod(int(cell), shown.fine_grid[1])
    return float(x[column]), float(y[line]), float(x[column + 1]), float(y[line + 1])


def _asks_apart(shown: Shown, example: Example) -> bool:
    """Whether each panel must say its own instruction, because the title does not."""
    return any(f"“{shown.rows.instruction[row]}”" not in example.title for row in example.rows)


def _places(rows: LabelledRows, example: Example, run: RunReport) -> str:
    places = dict.fromkeys(f"episode {rows.episode[row]} frame {rows.frame[row]}" for row in example.rows)
    return f"{run.split.capitalize()} split of {run.dataset}, {' and '.join(places)}."


def _threshold(run: RunReport) -> float:
    assert run.head.threshold is not None, "grounding decides by a threshold"
    return run.head.threshold


def _origin(run: RunReport) -> str:
    return f"Run {run.run}, checkpoint {run.checkpoint} (step {run.step})."
