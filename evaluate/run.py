"""The evaluation stage: run folders and store in, numbers, tables and figures out. No backbone is ever loaded."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ..pipeline.errors import MachineError
from ..train.folder import replace as write_over
from ..train.run import pick_device
from .compare import compare, refuse_incomparable
from .config import EvalConfig
from .figures.book import draw_book, training_page
from .folders import refuse_folder_of_runs
from .judges import judge
from .names import figure_folders, run_names
from .page.collect import page_of
from .page.html import write_page
from .page.origins import manifest_place
from .random_init import judge_random_init
from .recipe import recipe_of
from .report import ContenderReport, Report, RunReport
from .seeds import over_seeds
from .subject import Subject, examples_sha256, open_subject
from .tables import markdown_table, terminal_table
from .tasks.base import Judged


def evaluate(config: EvalConfig) -> Report:
    """Judge runs on a split, beside their controls, and write ``metrics.json``, tables, figures and ``report.html``.

    Nothing is written before everything is judged and drawn.

    Returns:
        the report; :func:`~.tables.terminal_table` shows it.

    Raises:
        ConfigError: no run, no such checkpoint, or runs of different tasks compared.
        WeightsError: a damaged checkpoint, or one whose answers are not finite.
        StoreError: the store is gone, incomplete or damaged; StoreMismatch if its features are others, field by field.
        ManifestError: an empty split, or one that the run was trained on.
        MachineError: the report cannot be written.
    """
    for run_dir in config.runs:
        refuse_folder_of_runs(run_dir)
    if config.compare:
        refuse_incomparable(config.runs)
    with TemporaryDirectory(prefix="vtt-eval-") as drawn:
        runs = tuple(evaluate_run(config, run_dir, Path(drawn)) for run_dir in config.runs)
        comparison = compare(*runs) if config.compare else None
        return write_report(Report(config, runs, over_seeds(runs), comparison), Path(drawn))


def evaluate_run(config: EvalConfig, run_dir: Path, drawn: Path) -> RunReport:
    """Judge one run; its figures go into ``drawn``, under the names they will have in the report's folder."""
    begun = time.perf_counter()
    with open_subject(config, run_dir) as subject:
        judged = _with_random_init(config, subject, judge(subject, config))
        report = _describe(config, subject, run_dir, judged)
        seconds = {"judge": time.perf_counter() - begun}
        if config.figures:
            report = _with_figures(config, subject, report, judged, drawn)
            seconds["draw"] = time.perf_counter() - begun - seconds["judge"]
    return replace(report, seconds=seconds)


def write_report(report: Report, drawn: Path | None = None) -> Report:
    """Write figures, ``metrics.json``, the tables and ``report.html`` into the report's folder, each in one step.

    Args:
        report: what to write.
        drawn: a folder that holds its figures; None where they lie in the report's folder.

    Returns:
        the report, with what the page misses.
    """
    texts = {
        "metrics.json": json.dumps(report.to_json(), indent=1, allow_nan=False, ensure_ascii=False) + "\n",
        "table.txt": terminal_table(report),
        "table.md": markdown_table(report),
    }
    files = {name: (drawn / name).read_bytes() for run in report.runs for name in run.figures} if drawn else {}
    _write_all(report.out, files | {name: text.encode() for name, text in texts.items()})
    page = page_of(report)
    write_page(page, report.page)
    return replace(report, missing=tuple(line for line in page.missing if line not in report.notes))


def _write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        try:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MachineError(f"{folder} cannot be made", found=error.strerror) from None
        write_over(folder / name, data)


def _with_random_init(config: EvalConfig, subject: Subject, judged: Judged) -> Judged:
    if config.random_init is None:
        return judged
    control, notes = judge_random_init(config, subject, config.random_init)
    return replace(judged, contenders=(*judged.contenders, control), notes=(*judged.notes, *notes))


def _describe(config: EvalConfig, subject: Subject, run_dir: Path, judged: Judged) -> RunReport:
    episodes = subject.examples.table["episode_index"].to_numpy()[subject.splits[config.split]]
    return RunReport(
        run=_own(run_names(config.runs), config, run_dir),
        path=run_dir,
        checkpoint=config.checkpoint,
        step=subject.loaded.head.step,
        split=config.split,
        dataset=subject.inputs.manifest.name,
        episodes=len(set(episodes.tolist())),
        simulated=subject.inputs.manifest.simulated,
        store=subject.inputs.store.place,
        features=subject.inputs.keys,
        contenders=tuple(_with_step(subject, contender) for contender in judged.contenders),
        ceiling=judged.ceiling,
        task=subject.loaded.config.task,
        notes=(*subject.notes, *judged.notes),
        seed=subject.loaded.record.seed,
        recipe=recipe_of(subject.loaded.record),
        examples_sha256=examples_sha256(subject, config.split),
        device=str(pick_device(config.device)),
        precision=subject.loaded.config.precision if config.precision == "run" else config.precision,
        manifest=manifest_place(subject.loaded.record, config.manifest),
        config=subject.loaded.record.config,
    )


def _with_step(subject: Subject, contender: ContenderReport) -> ContenderReport:
    """With the step of the checkpoint it was read from, if it was trained in this run."""
    found = subject.loaded.contenders.get(contender.name)
    return replace(contender, step=found.step) if found and found.contender.trains else contender


def _with_figures(config: EvalConfig, subject: Subject, report: RunReport, judged: Judged, drawn: Path) -> RunReport:
    folder = Path("figures", _own(figure_folders(run_names(config.runs)), config, report.path))
    training = training_page(report, subject.task.best_by, higher_is_better=subject.task.higher_is_better)
    book = draw_book((training, *judged.pages(report)), drawn / folder)
    figures = tuple(str(path.relative_to(drawn)) for path in book.drawn)
    return replace(report, figures=figures, notes=(*report.notes, *book.notes))


def _own(names: Sequence[str], config: EvalConfig, run_dir: Path) -> str:
    return names[config.runs.index(run_dir)]
