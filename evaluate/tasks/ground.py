"""How grounding is judged: cells and points, beside the trained controls and the centre prior."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...pipeline.metrics.bootstrap import EpisodeSums
from ...pipeline.metrics.curves import best_threshold, threshold_sweep
from ...train.tasks.ground import CONTROLS
from ..answers import answer_all, grids_of, grounding_rows
from ..ceiling import ceiling
from ..config import EvalConfig
from ..controls import centre_prior, missing_controls, prior_threshold
from ..figures.book import Page
from ..figures.pages_ground import ground_pages
from ..figures.shown import Shown
from ..findings import find
from ..frames import open_frames
from ..report import ContenderReport, OwnThreshold, RunReport
from ..rows import Answers, LabelledRows
from ..scores import score, score_by
from ..subject import Subject
from ..tallies import tally_ground
from .base import Judged

PRIOR = "centre_prior"


@dataclass(frozen=True)
class Split:
    """One split's rows, and every contender's answers to them."""

    rows: LabelledRows
    answers: Mapping[str, Answers]


def judge_ground(subject: Subject, config: EvalConfig) -> Judged:
    """Head, instruction-blind, linear probe and centre prior, on the config's split and on val."""
    rows = grounding_rows(subject)
    splits: dict[str, Split] = {
        name: _answered(subject, rows, name, config) for name in dict.fromkeys((config.split, "val"))
    }
    thresholds = dict.fromkeys(subject.loaded.contenders, config.threshold)
    thresholds[PRIOR] = _prior_threshold(subject, rows)
    grid, fine_grid = grids_of(subject)
    chosen = splits[config.split]
    return Judged(
        contenders=tuple(_contender(name, config.split, splits, at) for name, at in thresholds.items()),
        ceiling=ceiling(chosen.rows, grid, fine_grid if fine_grid != grid else None),
        notes=missing_controls(subject, CONTROLS, thresholds),
        pages=lambda report: _pages(subject, config, chosen, report),
    )


def _answered(subject: Subject, rows: LabelledRows, split: str, config: EvalConfig) -> Split:
    numbers = subject.splits[split]
    judged, trained_on = rows.take(numbers), rows.take(subject.splits["train"])
    prior = centre_prior(trained_on, judged, grids_of(subject)[0])
    return Split(judged, answer_all(subject, rows, numbers, config) | {PRIOR: prior})


def _prior_threshold(subject: Subject, rows: LabelledRows) -> float:
    train, val = (rows.take(subject.splits[split]) for split in ("train", "val"))
    return prior_threshold(train, val, grids_of(subject)[0])


def _contender(name: str, split: str, splits: Mapping[str, Split], threshold: float) -> ContenderReport:
    rows, answers = splits[split].rows, splits[split].answers[name]
    val = splits["val"]
    return ContenderReport(
        name=name,
        threshold=threshold,
        scores=score(answers, rows, threshold),
        groups=score_by(answers, rows, threshold),
        sweep=threshold_sweep(answers.logits, rows.cells),
        val=None if split == "val" else score(val.answers[name], val.rows, threshold),
        losses={split: answers.losses, "val": val.answers[name].losses},
        findings=find(answers, rows),
        sums=EpisodeSums.of(rows.episode, tally_ground(answers, rows, threshold)),
        own=None if name == PRIOR else _at_its_own(answers, rows, val, name, threshold),
    )


def _at_its_own(answers: Answers, rows: LabelledRows, val: Split, name: str, threshold: float) -> OwnThreshold | None:
    """At the threshold that suits a contender best on val; None where it is judged at that already."""
    own = best_threshold(val.answers[name].logits, val.rows.cells)
    return None if own == threshold else OwnThreshold(own, score(answers, rows, own))


def _pages(subject: Subject, config: EvalConfig, split: Split, report: RunReport) -> Sequence[Page]:
    shown = Shown(split.rows, split.answers["head"], *grids_of(subject))
    return ground_pages(shown, open_frames(subject.inputs.manifest, config), report)
