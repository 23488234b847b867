"""Every contender's answers to some examples, in one pass over the store."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int

from ..pipeline.errors import WeightsError
from ..train.loaded import LoadedContender
from ..train.loader import Loader
from ..train.objectives.terms import pooled
from ..train.sampling import EVALUATION_SEED, InOrder
from ..train.sources import DiskSource
from ..train.tasks.base import Observation
from ..train.tasks.grounders import Grounder
from .rows import Answers
from .subject import Subject


def answer_all(
    subject: Subject, numbers: Int[np.ndarray, " m"], *, batch_size: int, device: torch.device
) -> dict[str, Answers]:
    """The head's and every trained control's answers.

    The instruction-blind control reads Z of another query of the same frame, by one permutation that is the same in
    every evaluation (:data:`~visual_thought.train.sampling.EVALUATION_SEED`).

    Args:
        subject: the open run.
        numbers: example numbers.
        batch_size: examples a batch.
        device: where the models are.

    Raises:
        StoreError: rows that are damaged.
        WeightsError: a contender whose answers are not finite numbers.
    """
    contenders, task = subject.loaded.contenders, subject.task
    plan = InOrder(numbers, batch_size)
    loader = Loader(
        {name: DiskSource(reader) for name, reader in subject.inputs.readers.items()},
        task.fields(subject.examples, EVALUATION_SEED),
        subject.examples.targets,
        plan,
        range(len(plan)),
        batch_size=batch_size,
        device=device,
    )
    seen: dict[str, list[Observation]] = {name: [] for name in contenders}
    with loader, torch.inference_mode():
        for loaded in loader:
            for name, found in contenders.items():
                seen[name].append(task.observe(found.model, found.contender.view(loaded.batch)))
    return {name: _answers(subject, numbers, contenders[name], seen[name]) for name in contenders}


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
    subject: Subject, numbers: Int[np.ndarray, " m"], found: LoadedContender, seen: Sequence[Observation]
) -> Answers:
    logits, cell, sub_cell = (
        np.concatenate([observation.arrays[name] for observation in seen]) for name in ("coarse", "cell", "sub_cell")
    )
    if not np.isfinite(logits).all():
        raise WeightsError(
            f"{found.path}: the answers of {found.contender.name} are not finite numbers",
            remedy="evaluate another checkpoint",
        )
    fine_grid = subject.fine_grid if _refines(found) else subject.grid
    fine = sub_cell_numbers(cell, sub_cell, subject.grid, fine_grid)
    points = subject.rows.take(numbers).cell_centres(fine, fine_grid)
    return Answers(logits, points, pooled(observation.terms for observation in seen))


def _refines(found: LoadedContender) -> bool:
    model: Grounder = found.model  # type: ignore[assignment]  # every contender of the grounding task is one
    return model.refines
