"""The evaluation stage: run folders and store in, numbers, tables and figures out. No backbone is ever loaded."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..pipeline.datasets.lerobot import LeRobotSource, decode_frames, open_source
from ..pipeline.errors import VisualThoughtError
from ..pipeline.metrics.curves import threshold_sweep
from ..pipeline.metrics.grounding import sigmoid
from ..train.run import pick_device
from .answers import answer_all
from .ceiling import ceiling
from .config import EvalConfig
from .controls import centre_prior, prior_threshold
from .examples import choose_examples
from .page.collect import page_of
from .page.html import write_page
from .pictures import Frames, Shown, draw_examples, draw_sweeps
from .report import ContenderReport, Report, RunReport
from .rows import Answers, LabelledRows
from .scores import score, score_by
from .subject import Subject, open_subject
from .tables import markdown_table, terminal_table

type BySplit = Mapping[str, tuple[LabelledRows, Mapping[str, Answers]]]
"""Split -> its rows and every contender's answers."""


def evaluate(config: EvalConfig) -> Report:
    """Judge runs on a split, beside their controls, and write ``metrics.json``, ``table.txt``, ``table.md``, figures.

    Returns:
        the report; :func:`~.tables.terminal_table` shows it.

    Raises:
        ConfigError: no run, or no such checkpoint.
        WeightsError: a damaged checkpoint, or one whose answers are not finite.
        StoreError: the store is gone, incomplete or damaged; StoreMismatch if its features are others, field by field.
        ManifestError: an empty split, or one that the run was trained on.
    """
    runs = tuple(evaluate_run(config, run_dir) for run_dir in config.runs)
    report = Report(config.out, runs)
    write_report(report)
    return report


def evaluate_run(config: EvalConfig, run_dir: Path) -> RunReport:
    """Judge one run; writes only its figures."""
    with open_subject(config, run_dir) as subject:
        judged: BySplit = {split: _answers(config, subject, split) for split in dict.fromkeys((config.split, "val"))}
        thresholds = dict.fromkeys(subject.loaded.contenders, config.threshold)
        thresholds["centre_prior"] = _prior_threshold(subject)
        report = _describe(config, subject, run_dir, judged, thresholds)
        return _with_figures(config, subject, report, judged) if config.figures else report


def write_report(report: Report) -> None:
    """Write ``metrics.json``, the tables and ``report.html`` into the report's folder, each in one step."""
    report.out.mkdir(parents=True, exist_ok=True)
    texts = {
        "metrics.json": json.dumps(report.to_json(), indent=1, allow_nan=False, ensure_ascii=False) + "\n",
        "table.txt": terminal_table(report),
        "table.md": markdown_table(report),
    }
    for name, text in texts.items():
        unfinished = report.out / f".{name}.{os.getpid()}"
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(report.out / name)
    write_page(page_of(report), report.out / "report.html")


def _answers(config: EvalConfig, subject: Subject, split: str) -> tuple[LabelledRows, Mapping[str, Answers]]:
    rows = subject.rows.take(subject.splits[split])
    answers = answer_all(
        subject, subject.splits[split], batch_size=config.batch_size, device=pick_device(config.device)
    )
    trained_on = subject.rows.take(subject.splits["train"])
    return rows, answers | {"centre_prior": centre_prior(trained_on, rows, subject.grid)}


def _prior_threshold(subject: Subject) -> float:
    train, val = (subject.rows.take(subject.splits[split]) for split in ("train", "val"))
    return prior_threshold(train, val, subject.grid)


def _describe(
    config: EvalConfig, subject: Subject, run_dir: Path, judged: BySplit, thresholds: Mapping[str, float]
) -> RunReport:
    rows, answers = judged[config.split]
    fine_grid = subject.fine_grid if subject.fine_grid != subject.grid else None
    return RunReport(
        run=run_dir.resolve().name,
        path=run_dir,
        checkpoint=config.checkpoint,
        step=subject.loaded.head.step,
        split=config.split,
        dataset=subject.inputs.manifest.name,
        episodes=len(set(rows.episode.tolist())),
        simulated=subject.inputs.manifest.simulated,
        store=subject.inputs.store.place,
        features=subject.inputs.keys,
        contenders=tuple(_contender(name, config.split, judged, thresholds[name]) for name in answers),
        ceiling=ceiling(rows, subject.grid, fine_grid),
        notes=subject.notes,
    )


def _contender(name: str, split: str, judged: BySplit, threshold: float) -> ContenderReport:
    rows, answers = judged[split][0], judged[split][1][name]
    val_rows, val_answers = judged["val"][0], judged["val"][1][name]
    return ContenderReport(
        name=name,
        threshold=threshold,
        scores=score(answers, rows, threshold),
        groups=score_by(answers, rows, threshold),
        sweep=threshold_sweep(answers.logits, rows.cells),
        val=None if split == "val" else score(val_answers, val_rows, threshold),
        losses={split: answers.losses, "val": val_answers.losses},
    )


def _with_figures(config: EvalConfig, subject: Subject, report: RunReport, judged: BySplit) -> RunReport:
    """Draw what can be drawn; pictures need the dataset, and a note says so where it is not there."""
    folder = config.out / "figures" / (report.run if len(config.runs) > 1 else "")
    names, notes = [draw_sweeps(report, folder)], []
    rows, answers = judged[config.split]
    head = answers["head"]
    shown = Shown(rows, head, subject.grid, subject.fine_grid)
    examples = choose_examples(rows, sigmoid(head.logits).max(axis=1))
    try:
        remembered = config.hash_cache and config.hash_cache / "datasets.json"
        source = open_source(subject.inputs.manifest, config.lerobot_home, hash_cache=remembered)
        names += draw_examples(shown, examples, frames_of(source), report, folder)
    except VisualThoughtError as error:
        notes.append(f"no pictures, because the dataset could not be read: {error.problem}")
    figures = tuple(str((folder / name).relative_to(config.out)) for name in names)
    return replace(report, figures=figures, notes=(*report.notes, *notes))


def frames_of(source: LeRobotSource) -> Frames:
    """How pictures get their frames from a dataset."""
    return lambda episode, camera, frame: next(decode_frames(source, episode, camera, [frame])).rgb
