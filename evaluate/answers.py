"""What grounding contenders answer to some examples: cell logits and points in the frame."""

import numpy as np
from jaxtyping import Int

from ..train.loaded import LoadedContender
from ..train.tasks.ground import GroundTask
from ..train.tasks.grounders import Grounder
from .config import EvalConfig
from .labelled import labelled_rows
from .observations import Seen, observe_all
from .rows import Answers, LabelledRows
from .subject import Subject


def answer_all(
    subject: Subject, rows: LabelledRows, numbers: Int[np.ndarray, " m"], config: EvalConfig
) -> dict[str, Answers]:
    """The head's and every trained control's answers.

    Args:
        subject: the open run, of the grounding task.
        rows: all its examples as arrays.
        numbers: example numbers.
        config: batch size, device and number format.

    Raises:
        StoreError: rows that are damaged.
        WeightsError: a contender whose answers are not finite numbers.
    """
    contenders = subject.loaded.contenders
    seen = observe_all(subject, contenders, numbers, config, finite="coarse")
    judged = rows.take(numbers)
    return {name: _answers(grids_of(subject), judged, contenders[name], found) for name, found in seen.items()}


def grounding_rows(subject: Subject) -> LabelledRows:
    """All examples of a grounding run as plain arrays."""
    return labelled_rows(subject.examples.table, _task(subject))


def grids_of(subject: Subject) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of the coarse grid and of the refinement's; the coarse grid twice without refinement."""
    shapes = _task(subject).shapes
    return shapes.layout.grid, shapes.fine_grid or shapes.layout.grid


def sub_cell_numbers(
    cell: Int[np.ndarray, " n"], sub_cell: Int[np.ndarray, " n"], grid: tuple[int, int], fine_grid: tuple[int, int]
) -> Int[np.ndarray, " n"]:
    """The number in the fine grid of a coarse cell's sub-cell, all row-major."""
    down, across = fine_grid[0] // grid[0], fine_grid[1] // grid[1]
    row, column = np.divmod(cell, grid[1])
    sub_row, sub_column = np.divmod(sub_cell, across)
    numbers: Int[np.ndarray, " n"] = (row * down + sub_row) * fine_grid[1] + column * across + sub_column
    return numbers


def _answers(
    grids: tuple[tuple[int, int], tuple[int, int]], rows: LabelledRows, found: LoadedContender, seen: Seen
) -> Answers:
    model: Grounder = found.model  # type: ignore[assignment]  # every contender of the grounding task is one
    grid, fine_grid = grids[0], grids[1] if model.refines else grids[0]
    arrays = seen.arrays
    fine = sub_cell_numbers(arrays["cell"], arrays["sub_cell"], grid, fine_grid)
    return Answers(arrays["coarse"], rows.cell_centres(fine, fine_grid), seen.losses)


def _task(subject: Subject) -> GroundTask:
    if not isinstance(subject.task, GroundTask):
        raise TypeError(f"{subject.loaded.run_dir} is no grounding run")
    return subject.task
