"""How tasks are judged whose examples are frames: distillation and dense maps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from ...pipeline.metrics.bootstrap import EpisodeSums
from ...train.loaded import LoadedContender
from ...train.tasks.base import Arrays
from ..config import EvalConfig
from ..controls import missing_controls, target_mean
from ..figures.book import Page
from ..frames import Frames, open_frames
from ..measures import frame_labels, measure_by, measure_where
from ..observations import Seen, observe_all
from ..report import ContenderReport, RunReport
from ..subject import Subject
from ..tallies import Tally
from .base import Judged


@dataclass(frozen=True)
class FrameTask:
    """What differs between tasks of frames.

    Args:
        controls: every control that the task has.
        finite: the array of an observation that must hold numbers.
        tally: what is summed by episode.
        page: its figure.
    """

    controls: Sequence[str]
    finite: str
    tally: Callable[[Arrays], Tally]
    page: Callable[[Subject, Frames, RunReport], Page]


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
        contenders=tuple(_contender(subject, kind, name, seen, frames) for name in _order(contenders)),
        notes=missing_controls(subject, kind.controls, contenders),
        pages=lambda report: [kind.page(subject, open_frames(subject.inputs.manifest, config), report)],
    )


def _order(contenders: Mapping[str, LoadedContender]) -> list[str]:
    """The head, what was trained, then what knows nothing."""
    return sorted(contenders, key=lambda name: (name == "target_mean") - (name == "head"))


def _contender(
    subject: Subject, kind: FrameTask, name: str, seen: Mapping[str, Mapping[str, Seen]], frames: pa.Table
) -> ContenderReport:
    split = next(iter(seen))
    metrics, found, val = subject.task.metrics, seen[split][name], seen["val"][name]
    return ContenderReport(
        name=name,
        threshold=None,
        scores=measure_where(metrics, found.arrays),
        groups=measure_by(metrics, found.arrays, frame_labels(frames, subject.inputs.manifest)),
        sweep=(),
        val=None if split == "val" else measure_where(metrics, val.arrays),
        losses={split: found.losses, "val": val.losses},
        sums=EpisodeSums.of(frames["episode_index"].to_numpy(), kind.tally(found.arrays)),
    )
