"""Where the runs of an interrupted pass go on together: at the newest step of which all have a whole checkpoint."""

import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...pipeline.record import read_record
from ...pipeline.store import FeatureStore
from ..bounds import fault
from ..checkpoint import checkpoints
from ..config import TrainConfig
from ..inputs import refuse_other_task, resolve_features


def common_step(run_dirs: Sequence[Path]) -> int:
    """The newest step with a whole checkpoint in every folder; 0 for none."""
    found = [{int(path.name) for path in checkpoints(run_dir)} for run_dir in run_dirs]
    for step in sorted(set.intersection(*found) if found else (), reverse=True):
        if all(fault(_folder(run_dir, step)) is None for run_dir in run_dirs):
            return step
    return 0


def refuse_other_features(store: FeatureStore, configs: Iterable[TrainConfig]) -> None:
    """StoreMismatch if a run that is there was started with features that are not those of the store.

    Of every run, finished or not: all of them stand in one table.
    """
    for config in configs:
        path = config.out / "run.json"
        if path.exists():
            record = read_record(path)
            refuse_other_task(record, config)
            resolve_features(store, config, record)


def rewind(run_dir: Path, step: int) -> None:
    """Set aside checkpoints that are newer than a step: the run is ahead of the others."""
    for path in checkpoints(run_dir):
        if int(path.name) > step:
            path.rename(path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}")


def _folder(run_dir: Path, step: int) -> Path:
    return next(path for path in checkpoints(run_dir) if int(path.name) == step)
