"""Several runs of one recipe: mean and 95% interval over their seeds."""

import hashlib
import json
from collections.abc import Sequence

from ..pipeline.record import RunRecord
from ..train.sweep.intervals import Interval
from .across import OverSeeds
from .report import RunReport

NOT_THE_RECIPE = (
    "seed", "order_seed", "out", "store", "manifest", "resume", "device", "loader", "progress", "tensorboard", "wandb",
    "save_freq", "log_freq", "keep_last", "eval_batch_size", "eval_train_rows", "fingerprints",
)  # fmt: skip
"""Keys of a config that runs of one recipe may differ in."""


def recipe_of(record: RunRecord) -> str:
    """A fingerprint of what a run was trained by, all but the seed: its recipe, features and episodes."""
    known = {key: value for key, value in record.config.items() if key not in NOT_THE_RECIPE}
    features = {name: spec["compute"] for name, spec in record.features.items()}
    parts = [record.task, known, features, record.splits]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def over_seeds(runs: Sequence[RunReport]) -> tuple[OverSeeds, ...]:
    """One entry a recipe of which two or more seeds were judged on the same rows."""
    groups: dict[tuple[str, str], list[RunReport]] = {}
    for run in runs:
        groups.setdefault((run.recipe, run.examples_sha256), []).append(run)
    return tuple(_joined(group) for group in groups.values() if len({run.seed for run in group}) > 1)


def _joined(runs: Sequence[RunReport]) -> OverSeeds:
    scores = [{c.name: c.scores.to_json() for c in run.contenders} for run in runs]
    names = [name for name in scores[0] if all(name in found for found in scores)]
    intervals = {
        name: {key: Interval.of([found[name].get(key) for found in scores]) for key in scores[0][name]}
        for name in names
    }
    return OverSeeds(
        tuple(run.run for run in runs), tuple(run.seed for run in runs), runs[0].task, runs[0].split, intervals
    )
