"""The maps' arrays: teacher's and predicted maps of a few frames with their corners, from a run, store and dataset."""

from typing import cast

import numpy as np
import torch
from jaxtyping import Int

from ...pipeline.geometry import FrameGeometry
from ...pipeline.metrics.points import match_points
from ...train.tasks.dense import CHANNELS, DenseTask, Mapper
from ..frames import Frames
from ..subject import Subject
from .maps import MapScene
from .missing import NoFigure
from .moments import placed, read_batch

FIGURE = "maps"


def map_scenes(subject: Subject, numbers: Int[np.ndarray, " k"], frames: Frames) -> tuple[MapScene, ...]:
    """One scene an example, in the order of ``numbers``; corners by the decoder that the task's metrics use.

    Args:
        subject: an open run of the dense task.
        numbers: example numbers, such as :func:`~.moments.choose_frames` gives.
        frames: the pictures.

    Raises:
        NoFigure: a run of another task.
        DatasetError: a picture that cannot be had; StoreError: a row that cannot.
    """
    task = subject.task
    if not isinstance(task, DenseTask):
        raise NoFigure(FIGURE, "a run without dense maps", found=f"task {subject.loaded.config.task}")
    places = [placed(subject, int(number)) for number in numbers]
    pictures = [frames(*place) for place in places]
    batch = read_batch(subject, numbers)
    sizes = np.array([picture.shape[:2] for picture in pictures], dtype=np.int64).reshape(-1, 2)
    with torch.inference_mode():
        found, y = cast(Mapper, subject.loaded.model)(batch["z"]).float(), batch["y"]
        nowhere = [(np.empty((0, 2)), np.empty(0))] * len(pictures)
        corners = [task.corners(maps, sizes) if task.corners.works else nowhere for maps in (y, found)]
    known, within = _channels(task), task.objective.corner_px
    scenes = []
    for number, (picture, (episode, camera, frame)) in enumerate(zip(pictures, places, strict=True)):
        x, rows = FrameGeometry.of(task.y.image, *picture.shape[:2]).cell_edges(task.y.layout.grid)
        teacher, predicted = (points[number][0] for points in corners)
        scenes.append(
            MapScene(
                frame=picture,
                teacher=y[number].cpu().numpy(),
                predicted=found[number].cpu().numpy(),
                channels=known,
                extent=(float(x[0]), float(x[-1]), float(rows[-1]), float(rows[0])),
                place=f"episode {episode}, frame {frame}, {camera}",
                teacher_corners=teacher,
                predicted_corners=predicted,
                matched=match_points(predicted, teacher, within_px=within),
                within_px=within,
            )
        )
    return tuple(scenes)


def _channels(task: DenseTask) -> tuple[str, ...]:
    """What the maps' channels are called; numbers where the feature does not say."""
    numbers = task.y.compute.get("channels", range(task.y.shape[0]))
    return tuple(CHANNELS[one] if "channels" in task.y.compute else f"channel {one}" for one in numbers)
