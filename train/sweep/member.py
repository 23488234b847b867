"""One run of a sweep while it runs: an ordinary run that is given its batches."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Int

from ...pipeline.errors import VisualThoughtError
from ..checkpoint import Checkpoint
from ..inputs import Inputs, describe_run, summary
from ..journal import Journal
from ..processes import Team
from ..resume import begin, earlier_run
from ..run import build_racers, finished, open_journal
from ..state import Data, Run, bests_of
from .plan import Planned

FAILURE = "failure.json"


@dataclass
class Member:
    """A planned run, its state, and why it is no longer in the running.

    Args:
        planned: what it is.
        run: what the loop works on.
        failure: why it stopped; None while it goes on.
    """

    planned: Planned
    run: Run
    failure: str | None = None

    @property
    def name(self) -> str:
        """Cell and seed."""
        return self.planned.name

    def fail(self, step: int, error: Exception) -> None:
        """Take the run out; its folder keeps its last checkpoint and says why."""
        said = error.problem if isinstance(error, VisualThoughtError) else f"{type(error).__name__}: {error}"
        self.failure = said.split("\n")[0]
        told = {"step": step, "reason": self.failure, "message": str(error)}
        (self.run.out / FAILURE).write_text(json.dumps(told, indent=1))
        self.run.journal.note(step, f"failed: {self.failure}")

    def result(self) -> Checkpoint:
        """What the run has come to."""
        return finished(self.run.out, bests_of(self.run.racers), self.run.task.best_by)


def earlier_failure(run_dir: Path) -> str | None:
    """Why a run of an earlier sweep into the same folder failed; None if it did not."""
    try:
        return str(json.loads((run_dir / FAILURE).read_text())["reason"])
    except FileNotFoundError:
        return None


def enter(
    planned: Planned,
    inputs: Inputs,
    data: Data,
    *,
    splits: Mapping[str, Int[np.ndarray, " m"]],
    device: torch.device,
    closing: ExitStack,
) -> tuple[Member, int]:
    """Start or continue a run whose examples are those of its pass; the step it stands at.

    A run that failed earlier comes back as it began and writes nothing more.

    Args:
        planned: what to run.
        inputs: the open store and manifest.
        data: what the steps read, shared with the other members.
        splits: for the record.
        device: where it trains.
        closing: what closes its log.
    """
    task, out = planned.task, planned.config.out
    task.prepare(data.sources, data.examples, splits["train"])
    failure, racers = earlier_failure(out), build_racers(task, device)
    record = describe_run(task.config, inputs, data.examples, splits, device=device)
    start, journal = 0, cast(Journal, None)
    if failure is None:
        earlier = earlier_run(replace(task.config, resume=(out / "run.json").exists()))
        out.mkdir(parents=True, exist_ok=True)
        start, notes = begin(task.config, record, earlier, racers)
        journal = closing.enter_context(open_journal(task.config, start, summary(record), Team()))
        for note in notes:
            journal.note(start, note)
    return Member(planned, Run(task.config, task, racers, data, journal, device, summary(record)), failure), start
