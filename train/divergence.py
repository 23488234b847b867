"""A loss that is no longer a number ends the run, and leaves behind what it ended on."""

import json
from pathlib import Path
from typing import Any

from ..pipeline.errors import VisualThoughtError
from .joins import QUERY
from .loader import Field
from .sampling import Draw
from .state import Racer, Run


def diverged(run: Run, draw: Draw, racer: Racer, loss: float) -> VisualThoughtError:
    """The error for a loss that is NaN or infinite; which examples and store rows the step saw is saved.

    Args:
        run: the run.
        draw: the whole step, of all processes.
        racer: whose loss it is.
        loss: the step's loss.
    """
    path = run.out / f"nonfinite-{draw.step:06d}.json"
    if run.team.main:
        _write(path, run, draw, racer, loss)
    return VisualThoughtError(
        f"the loss of {racer.contender.name} is not a finite number at step {draw.step}",
        found=f"{loss}; the step's examples and their rows in the store are in {path}",
        expected="finite features were read, so the training diverged",
        remedy="lower optimizer.lr or raise scheduler.warmup_steps; the last checkpoint is intact",
    )


def _write(path: Path, run: Run, draw: Draw, racer: Racer, loss: float) -> None:
    table = run.data.examples.table.take(draw.examples)
    columns = [column for column in QUERY if column in table.column_names]
    said: dict[str, Any] = {
        "contender": racer.contender.name,
        "step": draw.step,
        "loss": str(loss),
        "store": str(run.config.store.absolute()),
        "features": {name: _rows(run, field, draw) for name, field in run.data.train_fields.items()},
        "examples": table.select(columns).to_pylist(),
    }
    path.write_text(json.dumps(said, indent=1))


def _rows(run: Run, field: Field, draw: Draw) -> dict[str, Any]:
    """What ``FeatureStore.read(key, rows)`` needs to show what a field of the batch held."""
    return {"key": run.data.sources[field.feature].spec.key, "rows": field.rows_of(draw).tolist()}
