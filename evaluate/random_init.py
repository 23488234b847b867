"""The random-init backbone as a control: a head of the same recipe, trained on features of untrained weights.

A head that was trained on real features says nothing about others, so the control is a run of its own: extract a second
store with a backbone of random weights, train the same recipe from it, and name the run here. It is judged on the same
rows as the run beside it, from its own store.
"""

from dataclasses import replace
from pathlib import Path

from ..pipeline.errors import ConfigError, StoreIncomplete
from .config import EvalConfig
from .judges import judge
from .recipe import recipe_of
from .report import ContenderReport
from .subject import Subject, examples_sha256, open_subject

NAME = "random_init"


def judge_random_init(config: EvalConfig, subject: Subject, run_dir: Path) -> tuple[ContenderReport, tuple[str, ...]]:
    """The control's head beside an open run, and notes.

    Raises:
        ConfigError: it is of another task, or read the same features.
        StoreIncomplete: its store has not the rows that the run is judged on.
        StoreError, WeightsError: as for any run.
    """
    own = replace(config, runs=(run_dir,), store=config.random_init_store, checkpoint="best", figures=False)
    with open_subject(own, run_dir) as control:
        _refuse_unlike(subject, control, config.split)
        head = judge(control, own).contenders[0]
    return replace(head, name=NAME, step=control.loaded.head.step), tuple(_notes(subject, control))


def _refuse_unlike(subject: Subject, control: Subject, split: str) -> None:
    folder, task = control.loaded.run_dir, subject.loaded.config.task
    if control.loaded.config.task != task:
        raise ConfigError(
            f"{folder} is no control of {subject.loaded.run_dir}",
            found=f"task {control.loaded.config.task}",
            expected=f"task {task}",
        )
    computes = [{name: spec.compute for name, spec in s.inputs.specs.items()} for s in (subject, control)]
    if computes[0] == computes[1]:
        raise ConfigError(
            f"{folder} was trained on the same features as {subject.loaded.run_dir}",
            expected="features of a backbone with random weights",
            remedy="extract a second store from an untrained checkpoint, and train the same recipe from it",
        )
    if examples_sha256(control, split) != examples_sha256(subject, split):
        raise StoreIncomplete(
            f"{folder} cannot be judged on the rows of {subject.loaded.run_dir}",
            found=f"{len(control.splits[split])} rows",
            expected=f"the same {len(subject.splits[split])} rows of the same labels",
            remedy="extract the control's store with the same manifest",
        )


def _notes(subject: Subject, control: Subject) -> list[str]:
    if _same_recipe(subject, control):
        return []
    return [f"{NAME} ({control.loaded.run_dir.resolve().name}) was trained by another recipe or on other episodes"]


def _same_recipe(subject: Subject, control: Subject) -> bool:
    """Whether both were trained alike, but for seed and features."""
    records = [replace(s.loaded.record, features={}) for s in (subject, control)]
    return recipe_of(records[0]) == recipe_of(records[1])
