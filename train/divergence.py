"""A loss that is no longer a number ends the run, and leaves behind what it ended on."""

import json

from ..pipeline.errors import VisualThoughtError
from .joins import QUERY
from .sampling import Draw
from .state import Racer, Run


def diverged(run: Run, draw: Draw, racer: Racer, loss: float) -> VisualThoughtError:
    """The error for a loss that is NaN or infinite; the examples the step saw are saved in the run folder.

    Args:
        run: the run.
        draw: the step.
        racer: whose loss it is.
        loss: the step's loss.
    """
    path = run.out / f"nonfinite-{draw.step:06d}.json"
    rows = run.data.examples.table.take(draw.examples)
    columns = [column for column in QUERY if column in rows.column_names]
    said = {"contender": racer.contender.name, "examples": rows.select(columns).to_pylist()}
    path.write_text(json.dumps(said, indent=1))
    return VisualThoughtError(
        f"the loss of {racer.contender.name} is not a finite number at step {draw.step}",
        found=f"{loss}; the batch's examples are in {path}",
        expected="finite features were read, so the training diverged",
        remedy="lower optimizer.lr or raise scheduler.warmup_steps; the last checkpoint is intact",
    )
