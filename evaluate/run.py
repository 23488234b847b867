"""The evaluation stage: run folders and store in, numbers, tables and figures out. No backbone is ever loaded."""

import json
import os
from dataclasses import replace
from pathlib import Path

from .compare import compare, refuse_incomparable
from .config import EvalConfig
from .judges import judge
from .page.collect import page_of
from .page.html import write_page
from .random_init import judge_random_init
from .report import Report, RunReport
from .seeds import over_seeds, recipe_of
from .subject import Subject, examples_sha256, open_subject
from .tables import markdown_table, terminal_table
from .tasks.base import Judged


def evaluate(config: EvalConfig) -> Report:
    """Judge runs on a split, beside their controls, and write ``metrics.json``, ``table.txt``, ``table.md``, figures.

    Returns:
        the report; :func:`~.tables.terminal_table` shows it.

    Raises:
        ConfigError: no run, no such checkpoint, or runs of different tasks compared.
        WeightsError: a damaged checkpoint, or one whose answers are not finite.
        StoreError: the store is gone, incomplete or damaged; StoreMismatch if its features are others, field by field.
        ManifestError: an empty split, or one that the run was trained on.
    """
    if config.compare:
        refuse_incomparable(config.runs)
    runs = tuple(evaluate_run(config, run_dir) for run_dir in config.runs)
    report = Report(config.out, runs, over_seeds(runs), compare(*runs) if config.compare else None)
    write_report(report)
    return report


def evaluate_run(config: EvalConfig, run_dir: Path) -> RunReport:
    """Judge one run; writes only its figures."""
    with open_subject(config, run_dir) as subject:
        judged = _with_random_init(config, subject, judge(subject, config))
        report = _describe(config, subject, run_dir, judged)
        return _with_figures(config, report, judged) if config.figures else report


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


def _with_random_init(config: EvalConfig, subject: Subject, judged: Judged) -> Judged:
    if config.random_init is None:
        return judged
    control, notes = judge_random_init(config, subject, config.random_init)
    return replace(judged, contenders=(*judged.contenders, control), notes=(*judged.notes, *notes))


def _describe(config: EvalConfig, subject: Subject, run_dir: Path, judged: Judged) -> RunReport:
    episodes = subject.examples.table["episode_index"].to_numpy()[subject.splits[config.split]]
    return RunReport(
        run=run_dir.resolve().name,
        path=run_dir,
        checkpoint=config.checkpoint,
        step=subject.loaded.head.step,
        split=config.split,
        dataset=subject.inputs.manifest.name,
        episodes=len(set(episodes.tolist())),
        simulated=subject.inputs.manifest.simulated,
        store=subject.inputs.store.place,
        features=subject.inputs.keys,
        contenders=judged.contenders,
        ceiling=judged.ceiling,
        task=subject.loaded.config.task,
        notes=(*subject.notes, *judged.notes),
        seed=subject.loaded.record.seed,
        recipe=recipe_of(subject.loaded.record),
        examples_sha256=examples_sha256(subject, config.split),
    )


def _with_figures(config: EvalConfig, report: RunReport, judged: Judged) -> RunReport:
    folder = config.out / "figures" / (report.run if len(config.runs) > 1 else "")
    drawn = judged.draw(report, folder)
    figures = tuple(str((folder / name).relative_to(config.out)) for name in drawn.names)
    return replace(report, figures=figures, notes=(*report.notes, *drawn.notes))
