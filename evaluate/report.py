"""What evaluation hands back, and how it becomes ``metrics.json``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..pipeline.metrics.bootstrap import EpisodeSums
from ..pipeline.metrics.curves import SweepPoint
from ..pipeline.metrics.grounding import f_score, precision, recall
from ..pipeline.place import Place
from .across import Comparison, OverSeeds
from .config import EvalConfig
from .findings import Findings
from .made import Made

SCHEMA = 1


class Scores(Protocol):
    """One contender's numbers on some rows."""

    @property
    def rows(self) -> int:
        """Rows judged."""

    def to_json(self) -> dict[str, float | int | None]:
        """A flat dictionary; what was not measured is None."""


@dataclass(frozen=True)
class OwnThreshold:
    """A contender's numbers at the threshold where its F_0.25 on validation is highest.

    Args:
        threshold: chosen on validation.
        scores: on the split reported.
    """

    threshold: float
    scores: Scores

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``metrics.json``."""
        return {"threshold": self.threshold, "scores": self.scores.to_json()}


@dataclass(frozen=True)
class ContenderReport:
    """One contender's numbers.

    Args:
        name: ``head`` or a control's name.
        threshold: cells are positive from this score on; None for a task without decisions.
        scores: on the split reported.
        groups: the same by target, camera, phase and episode, as far as the task has them.
        sweep: counts on the split at many thresholds; nothing for a task without decisions.
        val: on the validation split; None when that is the split reported.
        losses: loss terms by split and name; nothing for a control that was not trained.
        findings: curves, calibration, views and phases; None for a task without decisions.
        sums: what the metrics are made of, by episode.
        step: the training step of its weights; None for what was not trained.
        own: the same judged at a threshold of its own, which tables show of controls; None where it has no other.
    """

    name: str
    threshold: float | None
    scores: Scores
    groups: Mapping[str, Mapping[str, Scores]]
    sweep: tuple[SweepPoint, ...]
    val: Scores | None
    losses: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    findings: Findings | None = None
    sums: EpisodeSums | None = None
    step: int | None = None
    own: OwnThreshold | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``metrics.json``."""
        return {
            "step": self.step,
            "threshold": self.threshold,
            "scores": self.scores.to_json(),
            "val": self.val.to_json() if self.val else None,
            "losses": {split: dict(terms) for split, terms in self.losses.items() if terms},
            "groups": {
                by: {name: scores.to_json() for name, scores in groups.items()} for by, groups in self.groups.items()
            },
            "sweep": [_sweep_json(point) for point in self.sweep],
            "own_threshold": self.own.to_json() if self.own else None,
        } | ({"findings": self.findings.to_json()} if self.findings else {})


@dataclass(frozen=True)
class RunReport:
    """One run's evaluation.

    Args:
        run: its name: the run folder's, or the end of its path that tells it apart.
        path: the run folder.
        checkpoint: which checkpoint was read, and ``step`` the training step it is of.
        split: which split is reported, of ``dataset``.
        episodes: how many episodes the split has.
        simulated: whether the data set is simulated.
        store: the feature store; ``features`` maps each feature's name to the array key that was read.
        contenders: the head first, then the controls.
        ceiling: what a contender with perfect cells would score; nothing for a task whose best is trivial.
        task: ``ground``, ``distill`` or ``dense``.
        figures: picture files written, relative to the report's folder.
        notes: what is missing from this report and why.
        seed: the run's.
        recipe: a fingerprint of what it was trained by, all but the seed.
        examples_sha256: a fingerprint of the rows it was judged on.
        device: what it was judged on.
        precision: the number format it was judged in.
        manifest: where the data manifest lies, or its name.
        config: what the run was trained with, defaults included.
        seconds: wall-clock time to ``judge`` and to ``draw``; not in ``metrics.json``.
    """

    run: str
    path: Path
    checkpoint: str
    step: int
    split: str
    dataset: str
    episodes: int
    simulated: bool
    store: Place
    features: Mapping[str, str]
    contenders: tuple[ContenderReport, ...]
    ceiling: Mapping[str, Scores]
    task: str = "ground"
    figures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seed: int = 0
    recipe: str = ""
    examples_sha256: str = ""
    device: str = ""
    precision: str = ""
    manifest: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def head(self) -> ContenderReport:
        """The contender the run is about."""
        return self.contenders[0]

    @property
    def steps(self) -> str:
        """Which checkpoint each contender was read from: ``head 800, linear_probe 700``; empty for a head alone."""
        told = [f"{one.name} {one.step}" for one in self.contenders if one.step is not None]
        return ", ".join(told) if len(told) > 1 else ""

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``metrics.json``."""
        return {
            "run": self.run,
            "task": self.task,
            "path": str(self.path.resolve()),
            "manifest": self.manifest,
            "checkpoint": self.checkpoint,
            "step": self.step,
            "split": self.split,
            "dataset": self.dataset,
            "episodes": self.episodes,
            "simulated": self.simulated,
            "store": str(self.store.resolve() if isinstance(self.store, Path) else self.store),
            "features": dict(self.features),
            "contenders": {contender.name: contender.to_json() for contender in self.contenders},
            "ceiling": {name: scores.to_json() for name, scores in self.ceiling.items()},
            "figures": list(self.figures),
            "notes": list(self.notes),
            "seed": self.seed,
            "recipe": self.recipe,
            "examples_sha256": self.examples_sha256,
            "device": self.device,
            "precision": self.precision,
            "config": dict(self.config),
        }


@dataclass(frozen=True)
class Report:
    """All runs of one evaluation.

    Args:
        asked: what the evaluation was told.
        runs: one a run.
        seeds: mean and interval of runs of one recipe.
        comparison: of two runs, if it was asked for.
        missing: what ``report.html`` says is missing beyond the notes of its runs.
        made: which code judged, and when; nothing else in ``metrics.json`` changes when the same is judged again.
    """

    asked: EvalConfig
    runs: tuple[RunReport, ...]
    seeds: tuple[OverSeeds, ...] = ()
    comparison: Comparison | None = None
    missing: tuple[str, ...] = ()
    made: Made = field(default_factory=Made.now)

    @property
    def out(self) -> Path:
        """The folder that holds its files."""
        return self.asked.out

    @property
    def page(self) -> Path:
        """The page for people."""
        return self.out / "report.html"

    @property
    def notes(self) -> tuple[str, ...]:
        """What every run's notes say; of several runs, each names its own."""
        several = len(self.runs) > 1
        return tuple(f"{run.run}: {note}" if several else note for run in self.runs for note in run.notes)

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``metrics.json``."""
        return {
            "schema": SCHEMA,
            "made": self.made.to_json(),
            "runs": [run.to_json() for run in self.runs],
            "seeds": [found.to_json() for found in self.seeds],
            "comparison": self.comparison.to_json() if self.comparison else None,
        }


def _sweep_json(point: SweepPoint) -> dict[str, float | int]:
    counts = point.counts
    numbers: dict[str, float | int] = {"threshold": point.threshold, "tp": counts.tp, "fp": counts.fp, "fn": counts.fn}
    return numbers | {"precision": precision(counts), "recall": recall(counts), "f_0_25": f_score(counts)}
