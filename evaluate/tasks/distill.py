"""How distillation is judged: the expert's tokens as predicted, in the expert's own unit."""

import math

from ...train.tasks.distill import CONTROLS
from ..config import EvalConfig
from ..figures.pages_frames import token_page
from ..subject import Subject
from ..tallies import tally_distill
from .base import Judged
from .frames import FrameTask, judge_frames


def judge_distill(subject: Subject, config: EvalConfig) -> Judged:
    """``mse``, ``r2`` and ``cosine`` of the head and every control."""
    numbers = math.prod(subject.inputs.specs["e"].shape)
    kind = FrameTask(CONTROLS, "squares", lambda arrays: tally_distill(arrays, numbers), token_page)
    return judge_frames(subject, config, kind)
