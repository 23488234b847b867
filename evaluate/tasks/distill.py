"""How distillation is judged: the expert's tokens as predicted, in the expert's own unit."""

from ...train.tasks.distill import CONTROLS
from ..config import EvalConfig
from ..subject import Subject
from .base import Judged
from .frames import FrameTask, judge_frames

KIND = FrameTask(controls=CONTROLS, finite="squares")


def judge_distill(subject: Subject, config: EvalConfig) -> Judged:
    """``mse``, ``r2`` and ``cosine`` of the head and every control."""
    return judge_frames(subject, config, KIND)
