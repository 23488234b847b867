"""Whether a checkpoint belongs to the run whose folder it lies in."""

from pathlib import Path

from ..pipeline.errors import StoreMismatch, WeightsError
from ..pipeline.spec import differences
from .bounds import read_json


def refuse_foreign(run_dir: Path, path: Path) -> None:
    """Refuse a checkpoint that was put into the folder of a run it does not belong to.

    Raises:
        WeightsError: it is of another task.
        StoreMismatch: it was trained on other features; says in what they differ.
    """
    if not (run_dir / "run.json").exists():
        return
    run, own = read_json(run_dir / "run.json"), read_json(path / "config.json")
    if own.get("task") != run.get("task"):
        raise WeightsError(
            f"the checkpoint {path} is of another task",
            found=own.get("task"),
            expected=run.get("task"),
            remedy="move it to the run it belongs to",
        )
    features, others = ({key: spec["compute"] for key, spec in one["features"].items()} for one in (run, own))
    changed = differences(others, features)
    if changed:
        raise StoreMismatch(
            f"the checkpoint {path} was trained on other features than its run",
            found=changed,
            expected="the features that run.json names",
            remedy="move it to the run it belongs to",
        )
