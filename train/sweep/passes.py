"""One pass over the store that trains many heads: each batch is read once, and every run takes its step on it."""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from tqdm import tqdm

from ...pipeline.errors import Interrupted, VisualThoughtError
from ...pipeline.interrupt import Stop
from ..divergence import diverged
from ..inputs import open_inputs
from ..loader import Loaded
from ..loop import Pace, let_go, open_train_loader, save
from ..optimizer import rate_factor
from ..run import gather, pick_device, split_examples
from ..seeds import own_randomness
from ..state import Racer, Run
from ..step import backward, update
from .config import SweepConfig
from .member import Member, earlier_failure, enter
from .memory import keep_freed_memory
from .plan import Pass, Planned
from .resume import common_step, rewind
from .stack import Stack, can_stack, pays
from .validation import validate


@dataclass
class Company:
    """The members of a pass: who is trained as one, who in turn.

    Args:
        members: all of them.
        stacks: members trained as one, by contender; None until the first batch has been seen.
    """

    members: list[Member]
    vectorise: str
    stacks: list[Stack] | None = None

    @property
    def live(self) -> list[Member]:
        """Members that have not failed."""
        return [member for member in self.members if member.failure is None]

    def of(self, run: Run) -> Member:
        """The member of a run."""
        return next(member for member in self.members if member.run is run)


def remaining(one: Pass, runs: Sequence[Planned]) -> list[Pass]:
    """The passes that train what is left of a pass: no run goes back because another one is new.

    Runs that have come somewhere go on from there, with those that failed on the way, so that heads trained as one stay
    those they were; runs that have not begun then start together.

    Args:
        one: the pass as it was planned.
        runs: those of it that are not finished.
    """
    pending = [run for run in runs if earlier_failure(run.config.out) is None]
    begun = [run for run in pending if (run.config.out / "run.json").exists()]
    if not common_step([run.config.out for run in begun]):
        return [replace(one, runs=tuple(runs))] if pending else []
    new = [run for run in pending if run not in begun]
    parts = ([run for run in runs if run not in new], new)
    return [replace(one, runs=tuple(part)) for part in parts if part]


def run_pass(one: Pass, config: SweepConfig, stop: Stop, label: str) -> list[Member]:
    """Train all runs of a pass to the end, or to where they failed.

    Raises:
        Interrupted: a signal asked to stop; every run has a checkpoint of the last whole step.
        StoreError, ManifestError: what keeps all of them from going on.
    """
    first = one.config
    with open_inputs(first, None) as inputs, ExitStack() as stack:
        splits = split_examples(inputs.manifest, one.examples, first)
        device = pick_device(first.device)
        data = gather(one.runs[0].task, inputs, one.examples, splits, device, stop=stop)
        _meet(one)
        entered = [enter(planned, inputs, data, splits=splits, device=device, closing=stack) for planned in one.runs]
        start = min((step for member, step in entered if member.failure is None), default=first.steps)
        company = Company([member for member, _ in entered], config.vectorise)
        if device.type == "cpu" and config.vectorise != "never":
            keep_freed_memory()
        with own_randomness():
            _train(company, range(start, first.steps), stop, config.progress, label)
    return company.members


def _meet(one: Pass) -> None:
    """Take every run back to the newest step that all of them have."""
    folders = [run.config.out for run in one.runs if earlier_failure(run.config.out) is None]
    step = common_step(folders)
    for folder in folders:
        rewind(folder, step)


def _train(company: Company, steps: range, stop: Stop, progress: bool, label: str) -> None:
    lead = company.members[0].run
    config = lead.config
    if not company.live:
        return
    with (
        open_train_loader(lead, steps) as loader,
        tqdm(
            total=config.steps, initial=steps.start, unit="step", desc=label, disable=not progress, file=sys.stderr
        ) as bar,
    ):
        pace = Pace(loader)
        for loaded in loader:
            _step(company, loaded)
            done = loaded.draw.step + 1
            bar.update()
            if done % config.log_freq == 0 or done == config.steps:
                _log(company, done, pace, bar)
            _keep(company, done, stop)
            if not company.live:
                return


def _step(company: Company, loaded: Loaded) -> None:
    """One optimiser step of everybody on one batch."""
    if company.stacks is None:
        company.stacks = list(_stacks(company, loaded))
    for stack in tuple(company.stacks):
        _step_stack(company, company.stacks, stack, loaded)
    stacked = {id(racer) for stack in company.stacks for _, racer in stack.entries}
    for member in company.live:
        for racer in member.run.racers:
            if racer.contender.trains and id(racer) not in stacked and member.failure is None:
                _step_alone(member, racer, loaded)


def _step_stack(company: Company, stacks: list[Stack], stack: Stack, loaded: Loaded) -> None:
    """One step of heads trained as one; if torch cannot do that with their operations, they go on in turn."""
    try:
        losses = stack.backward(loaded.batch, loaded.draw.step).tolist()
    except RuntimeError as error:
        stacks.remove(stack)
        said = f"heads of one shape are trained in turn from here: {str(error).splitlines()[0]}"
        for member in company.live:
            member.run.journal.note(loaded.draw.step, said)
        return
    pairs = [(company.of(run), racer) for run, racer in stack.entries]
    live = [n for n, (member, racer) in enumerate(pairs) if _usable(member, racer, loaded, losses[n])]
    stack.update(loaded.draw.step, live)
    for number in live:
        member, racer = pairs[number]
        member.run.recent.setdefault(racer.contender.name, []).append(losses[number])


def _step_alone(member: Member, racer: Racer, loaded: Loaded) -> None:
    try:
        loss = float(backward(member.run, racer, loaded.batch, loaded.draw.step))
    except (VisualThoughtError, RuntimeError) as error:  # RuntimeError: torch's, such as too little memory
        member.fail(loaded.draw.step, error)
        return
    if _usable(member, racer, loaded, loss):
        update(member.run, racer, loaded.draw.step)
        member.run.recent.setdefault(racer.contender.name, []).append(loss)


def _usable(member: Member, racer: Racer, loaded: Loaded, loss: float) -> bool:
    """Whether a head is to take its step; not if its loss says that the gradients are worth nothing."""
    if member.failure is None and not math.isfinite(loss):
        member.fail(loaded.draw.step, diverged(member.run, loaded.draw, racer, loss))
    return member.failure is None


def _stacks(company: Company, loaded: Loaded) -> Iterator[Stack]:
    """The stacks worth having; failed members stay in, so that the dropout streams of the others stay as they were."""
    if company.vectorise == "never":
        return
    groups: dict[tuple[str, str], list[tuple[Run, Racer]]] = {}
    for member in company.members:
        for racer in (racer for racer in member.run.racers if racer.contender.trains):
            key = (member.planned.shape, racer.contender.name)
            groups.setdefault(key, []).append((member.run, racer))
    for entries in groups.values():
        if can_stack(entries) and (company.vectorise == "always" or pays(entries, loaded.batch)):
            yield Stack(entries)


def _log(company: Company, done: int, pace: Pace, bar: "tqdm[Any]") -> None:
    lead = company.live[0].run if company.live else company.members[0].run
    counted = max(len(losses) for losses in lead.recent.values()) if lead.recent else 0
    speed = pace.lap(lead.config.batch_size * counted)
    for member in company.live:
        run = member.run
        rate = run.config.optimizer.lr * rate_factor(done - 1, run.config.steps, run.config.scheduler)
        for name, losses in run.recent.items():
            run.journal.write("train", done, name, {"loss": sum(losses) / len(losses), "lr": rate, **speed})
        run.recent.clear()
    bar.set_postfix_str(
        f"{len(company.live)} runs, {speed['samples_per_s']:.0f} samples/s each, waiting {speed['waiting']:.0%}"
    )


def _keep(company: Company, done: int, stop: Stop) -> None:
    """Validate and save when it is time, all runs at the same steps; stop if a signal said so."""
    config = company.members[0].run.config
    last = done == config.steps
    judged = done % config.eval_freq == 0 or last
    wanted = bool(config.save_freq) and done % config.save_freq == 0
    if judged:
        validate([member.run for member in company.live], done)
    if judged or wanted or stop:
        for member in company.live:
            save(member.run, done)
        for member in company.live:  # once all have the new checkpoint: until then they could only meet at an older one
            let_go(member.run)
    if stop and not last:
        raise Interrupted(
            f"the sweep was stopped by {stop.signal} after step {done} of {config.steps} of this pass",
            found=f"{len(company.live)} runs with a checkpoint of that step",
            remedy="run the same command with --resume",
        )
