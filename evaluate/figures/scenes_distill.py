"""The triptych's arrays: expert's and predicted tokens of a few frames, from a run, its store and its dataset."""

from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int

from ...pipeline.geometry import FrameGeometry
from ...train.tasks.distill import Distiller, DistillTask
from ..frames import Frames
from ..subject import Subject
from .missing import NoFigure
from .moments import placed, read_batch
from .tokens import TokenScene

FIGURE = "tokens"


def token_scenes(subject: Subject, numbers: Int[np.ndarray, " k"], frames: Frames) -> tuple[TokenScene, ...]:
    """One scene an example, in the order of ``numbers``.

    Cosine and MSE are of all tokens, as the task's metrics are; a class token counts, but has no place to be drawn.

    Args:
        subject: an open run of the distillation task.
        numbers: example numbers, such as :func:`~.moments.choose_frames` gives.
        frames: the pictures.

    Raises:
        NoFigure: a run of another task, or an expert whose tokens have no place in the frame.
        DatasetError: a picture that cannot be had; StoreError: a row that cannot.
    """
    task = subject.task
    if not isinstance(task, DistillTask):
        raise NoFigure(FIGURE, "a run without expert tokens", found=f"task {subject.loaded.config.task}")
    if not task.e.layout.cells:
        raise NoFigure(FIGURE, f"the tokens of {task.e.key} have no place in the frame", found=task.e.layout)
    batch = read_batch(subject, numbers)
    with torch.inference_mode():
        found = cast(Distiller, subject.loaded.model)(batch["z"]).float()  # (k, m, d)
    e = batch["e"]
    cosine = F.cosine_similarity(found, e, dim=2).mean(dim=1).cpu().numpy()
    mse = (found - e).square().mean(dim=(1, 2)).cpu().numpy()
    layout = task.e.layout
    spatial = slice(layout.prefix, layout.prefix + layout.cells)
    scenes = []
    for place, number in enumerate(numbers):
        episode, camera, frame = placed(subject, int(number))
        picture = frames(episode, camera, frame)
        x, y = FrameGeometry.of(task.e.image, *picture.shape[:2]).cell_edges(layout.grid)
        scenes.append(
            TokenScene(
                frame=picture,
                expert=e[place, spatial].reshape(*layout.grid, -1).cpu().numpy(),
                predicted=found[place, spatial].reshape(*layout.grid, -1).cpu().numpy(),
                extent=(float(x[0]), float(x[-1]), float(y[-1]), float(y[0])),
                place=f"episode {episode}\nframe {frame}\n{camera} camera",
                cosine=float(cosine[place]),
                mse=float(mse[place]),
            )
        )
    return tuple(scenes)
