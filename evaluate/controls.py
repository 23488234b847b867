"""Controls that need no training: what a number is worth is known only beside what knows less.

The centre prior knows where targets usually are and sees neither image nor instruction; the target mean answers every
frame with the mean training target. The instruction-blind and linear-probe contenders are trained with the head: where
a run did without, a note says how to train them.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from ..pipeline import registry
from ..pipeline.metrics.curves import best_threshold, groups_of
from ..train.loaded import LoadedContender
from ..train.run import pick_device
from ..train.sources import DiskSource
from ..train.tasks.base import Task
from .rows import Answers, LabelledRows
from .subject import Subject


def cell_prior(cells: Bool[np.ndarray, "n cells"], cameras: tuple[str, ...]) -> dict[str, Float[np.ndarray, " cells"]]:
    """The mean target of every cell by camera: p_cj = mean over the rows of camera c of y_j (negative rows count)."""
    return {camera: cells[rows].mean(axis=0) for camera, rows in groups_of(cameras).items()}


def centre_prior(train: LabelledRows, rows: LabelledRows, grid: tuple[int, int]) -> Answers:
    """Answer every row with its camera's cell prior over the training rows; the point is its best cell's centre.

    Scores are logit(p), so that sigmoid gives p back; a camera without a training row gets p = 0 everywhere.
    """
    prior = cell_prior(train.cells, train.camera)
    nothing = np.zeros(rows.cells.shape[1])
    p = np.stack([prior.get(camera, nothing) for camera in rows.camera])  # (n, cells)
    with np.errstate(divide="ignore"):
        logits = np.log(p) - np.log1p(-p)  # p = 0 -> -inf, p = 1 -> +inf
    return Answers(logits, rows.cell_centres(p.argmax(axis=1), grid))


def prior_threshold(train: LabelledRows, val: LabelledRows, grid: tuple[int, int]) -> float:
    """The centre prior's threshold: the one with the highest F_0.25 on validation rows, never on the rows reported."""
    return best_threshold(centre_prior(train, val, grid).logits, val.cells)


def target_mean(subject: Subject, device: str) -> LoadedContender:
    """The mean training target of a run that was not trained beside it; one pass over the training targets."""
    config = replace(subject.task.config, controls=("target_mean",))
    task: Task = registry.load("task", config.task)(config, subject.inputs.specs)
    sources = {name: DiskSource(reader) for name, reader in subject.inputs.readers.items()}
    task.prepare(sources, subject.examples, subject.splits["train"])
    contender = task.contender("target_mean")
    contender.model.to(pick_device(device)).eval()
    return LoadedContender(contender, subject.loaded.run_dir, subject.loaded.head.step)


def missing_controls(subject: Subject, known: Sequence[str], judged: Collection[str]) -> tuple[str, ...]:
    """One note on the ``known`` controls that are not ``judged``, because the run was trained without; or none."""
    missing = [name for name in known if name not in judged]
    if not missing:
        return ()
    run, told = subject.loaded.run_dir.resolve().name, ", ".join(missing)
    return (f"no {told}: {run} was trained without; train it with controls=[{','.join(known)}]",)
