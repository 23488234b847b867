"""How dense maps are judged: the error of every channel, and the corners that the maps are for."""

from ...train.tasks.dense import CONTROLS
from ..config import EvalConfig
from ..figures.pages_frames import map_page
from ..subject import Subject
from ..tallies import tally_dense
from .base import Judged
from .frames import FrameTask, judge_frames

KIND = FrameTask(CONTROLS, "errors", tally_dense, map_page)


def judge_dense(subject: Subject, config: EvalConfig) -> Judged:
    """``mse``, by channel too, and precision, recall and F1 of corners, of the head and every control."""
    return judge_frames(subject, config, KIND)
