"""How tasks are judged whose examples are frames: distillation and dense maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from ...train.loaded import LoadedContender
from ..config import EvalConfig
from ..controls import missing_controls, target_mean
from ..measures import frame_labels, measure_by, measure_where
from ..observations import Seen, observe_all
from ..report import ContenderReport
from ..subject import Subject
from .base import Judged


@dataclass(frozen=True)
class FrameTask:
    """What differs between tasks of frames.

    Args:
        controls: every control that the task has.
        finite: the array of an observation that must hold numbers.
    """

    controls: Sequence[str]
    finite: str


def judge_frames(subject: Subject, config: EvalConfig, kind: FrameTask) -> Judged:
    """The head, its trained controls and the mean target, on the config's split and on val."""
    contenders = dict(subject.loaded.contenders)
    if "target_mean" not in contenders:
        contenders["target_mean"] = target_mean(subject, config.device)
    seen: dict[str, Mapping[str, Seen]] = {
        split: observe_all(subject, contenders, subject.splits[split], config, finite=kind.finite)
        for split in dict.fromkeys((config.split, "val"))
    }
    frames = subject.examples.table.take(pa.array(subject.splits[config.split]))
    return Judged(
        contenders=tuple(_contender(subject, name, config.split, seen, frames) for name in _order(contenders)),
        notes=missing_controls(subject, [name for name in kind.controls if name not in contenders]),
    )


def _order(contenders: Mapping[str, LoadedContender]) -> list[str]:
    """The head, what was trained, then what knows nothing."""
    return sorted(contenders, key=lambda name: (name == "target_mean") - (name == "head"))


def _contender(
    subject: Subject, name: str, split: str, seen: Mapping[str, Mapping[str, Seen]], frames: pa.Table
) -> ContenderReport:
    metrics, found, val = subject.task.metrics, seen[split][name], seen["val"][name]
    return ContenderReport(
        name=name,
        threshold=None,
        scores=measure_where(metrics, found.arrays),
        groups=measure_by(metrics, found.arrays, frame_labels(frames, subject.inputs.manifest)),
        sweep=(),
        val=None if split == "val" else measure_where(metrics, val.arrays),
        losses={split: found.losses, "val": val.losses},
    )
