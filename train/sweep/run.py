"""The sweep: plan, train pass by pass, tell."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from ...pipeline.config import to_plain
from ...pipeline.errors import ConfigError
from ...pipeline.interrupt import Stop, stop_on_signals
from ...pipeline.store import FeatureStore
from ..card import update_card
from ..run import refuse_to_start
from .config import SweepConfig
from .member import Member, earlier_failure
from .passes import remaining, run_pass
from .plan import Pass, Planned, SweepPlan, plan_sweep
from .result import FILE, Outcome, SweepResult, read_outcomes
from .resume import refuse_other_features

type Outcomes = dict[str, Outcome]
"""Every run by its name."""


def sweep(config: SweepConfig) -> SweepResult:
    """Train every cell with every seed; runs that read the same are trained in one pass.

    Each run's folder holds what ``vtt train`` with its config would have written. ``sweep.json`` is written after every
    pass; a run that fails is recorded, and the others go on.

    Raises:
        ConfigError: the file cannot be meant, or ``out`` is taken.
        StoreError, ManifestError: what would keep every run from starting.
        Interrupted: stopped by a signal, resumable.
    """
    _refuse_taken(config)
    plan = plan_sweep(config)
    refuse_other_features(FeatureStore.open(config.store), (run.config for run in plan.runs))
    known = read_outcomes(config.out) if config.resume else {}
    outcomes = {run.name: _before(run, known.get((run.cell, run.config.seed)), config) for run in plan.runs}
    config.out.mkdir(parents=True, exist_ok=True)
    _result(config, plan, outcomes).write()
    with stop_on_signals() as stop:
        for number, one in enumerate(plan.passes, start=1):
            for _ in _advance(one, config, stop, outcomes, f"pass {number} of {len(plan.passes)}"):
                _result(config, plan, outcomes).write()
    return _result(config, plan, outcomes)


def _advance(one: Pass, config: SweepConfig, stop: Stop, outcomes: Outcomes, label: str) -> Iterator[None]:
    """Run what of a pass is not done, and say so whenever there is more to tell."""
    for part in remaining(one, [run for run in one.runs if outcomes[run.name].status != "finished"]):
        refuse_to_start(stop)
        for member in run_pass(part, config, stop, label):
            outcomes[member.name] = _after(member, config)
        yield


def _before(run: Planned, known: Outcome | None, config: SweepConfig) -> Outcome:
    """What is known of a run before its pass: finished and failed ones are not run again."""
    folder = run.config.out
    if known is not None and known.status == "finished" and (folder / "last").exists():
        return known
    reason = earlier_failure(folder)
    status = "pending" if reason is None else "failed"
    return Outcome(run.cell, run.config.seed, status, _relative(folder, config), run.parameters, reason=reason)


def _after(member: Member, config: SweepConfig) -> Outcome:
    run = member.planned
    told = (_relative(run.config.out, config), run.parameters)
    if member.failure is not None:
        return Outcome(run.cell, run.config.seed, "failed", *told, reason=member.failure)
    done = member.result()
    update_card(run.config.out)
    return Outcome(run.cell, run.config.seed, "finished", *told, done.step, done.metrics)


def _result(config: SweepConfig, plan: SweepPlan, outcomes: Mapping[str, Outcome]) -> SweepResult:
    task = plan.runs[0].task
    metrics = config.file.metrics or tuple(dict.fromkeys((task.best_by, "loss")))
    order = {(cell.name, seed): None for cell in plan.cells for seed in config.file.seeds}
    listed = tuple(outcomes[f"{cell}/seed-{seed}"] for cell, seed in order)
    return SweepResult(config.out, config.source, to_plain(config.file), plan.entries, metrics, listed)


def _relative(folder: Path, config: SweepConfig) -> str:
    return str(folder.relative_to(config.out))


def _refuse_taken(config: SweepConfig) -> None:
    out = config.out
    if config.resume or not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    raise ConfigError(
        f"the sweep folder {out} is taken",
        found="a sweep" if (out / FILE).exists() else "other files",
        expected="a new or empty folder",
        remedy="continue that sweep with --resume, or choose another --out",
    )
