"""Validation of many runs at once: every batch is read once and shown to all of them."""

from collections.abc import Sequence

import torch

from ..loop import note_best, observe, scores
from ..sampling import InOrder
from ..state import Run, open_loader
from ..tasks.base import Observation

type Seen = dict[str, list[Observation]]
"""What one run's contenders made of the batches so far, by contender."""


def validate(runs: Sequence[Run], done: int) -> None:
    """Score every contender of every run as :func:`~visual_thought.train.loop.run_steps` does, and note the best."""
    for split in ("val", "train"):
        for run, seen in zip(runs, _observe_split(runs, split), strict=True):
            for racer in run.racers:
                name = racer.contender.name
                if not seen[name]:
                    continue
                values = scores(run.task, seen[name])
                run.journal.write("validation", done, name, values, split=split)
                if split == "val":
                    note_best(run, racer, done, values)


def _observe_split(runs: Sequence[Run], split: str) -> list[Seen]:
    """What all contenders make of all examples of a split; of training examples, those that validations score."""
    found: list[Seen] = [{racer.contender.name: [] for racer in run.racers} for run in runs]
    if not runs or not len(examples := runs[0].data.splits["val" if split == "val" else "train_eval"]):
        return found
    plan = InOrder(examples, runs[0].config.eval_batch_size)
    fields = runs[0].data.eval_fields
    with (
        open_loader(runs[0], fields, plan, range(len(plan)), plan.batch_size) as loader,
        torch.inference_mode(),
    ):
        for loaded in loader:
            for run, seen in zip(runs, found, strict=True):
                for racer in run.racers:
                    seen[racer.contender.name].append(observe(run, racer, loaded.batch))
    return found
