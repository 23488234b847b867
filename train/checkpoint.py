"""Checkpoints: safetensors and JSON only, written whole or not at all, checked before use.

    run/
      run.json  metrics.jsonl
      checkpoints/000123/
        model.safetensors  config.json            the head; config.json rebuilds it without the store
        controls/<name>.safetensors               its controls
        training_state/<name>.safetensors         optimiser moments, one file a contender
        training_state/weights/<name>.safetensors the weights that take the steps, where the above are their average
        training_state/state.json                 step and best values
        steps.json                                after how many steps each contender's weights were taken
        files.json                                size and sha256 of the files above; written last
      last  best  best-<control>                  links into checkpoints/

Everything random follows from (seed, step), so no generator has a state to be kept.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from ..pipeline.errors import WeightsError
from .belonging import refuse_foreign
from .best import Best
from .bounds import LIST, describe, fault, read_json, read_tensors, shapes_of
from .folder import point, publish, set_aside
from .moments import moment_shapes, moments, set_moments

HEAD = "head"
STEPS = "steps.json"
TOLD = ("loss", "f_0_25", "precision", "recall", "mse", "r2", "cosine", "corner_f1", "true_corner_f1")
"""What people are told of a validation, beside the metric that chose the best."""


@dataclass(frozen=True)
class Checkpoint:
    """What :func:`~visual_thought.train.run.train` hands back.

    Args:
        run_dir: the run folder.
        path: the head's best checkpoint.
        step: the steps it was trained for.
        metrics: the validation metrics of that checkpoint by contender: each contender's own best; None for what has
            no value there.
        best_by: the metric that chose the best.
    """

    run_dir: Path
    path: Path
    step: int
    metrics: Mapping[str, Mapping[str, float | None]]
    best_by: str = "loss"

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        metrics = {name: dict(values) for name, values in self.metrics.items()}
        return {"run": str(self.run_dir), "checkpoint": str(self.path), "step": self.step, "val": metrics}

    def render(self) -> str:
        """The same as text for people: each contender's best validation."""
        lines = [f"{self.run_dir}: best checkpoint at step {self.step}"]
        for name, values in self.metrics.items():
            told = {key: value for key, value in values.items() if key in (*TOLD, self.best_by) and value is not None}
            lines.append(f"  {name:<18}" + "  ".join(f"{key} {_digits(value)}" for key, value in told.items()))
        return "\n".join([*lines, f"  next: vtt eval {self.run_dir}"])


def _digits(value: float) -> str:
    """Three decimals; three digits of what they would hide."""
    return f"{value:.2e}" if 0 < abs(value) < 0.01 else f"{value:.3f}"


def checkpoint_dir(run_dir: Path, step: int) -> Path:
    """The folder of one step's checkpoint."""
    return run_dir / "checkpoints" / f"{step:06d}"


def link_name(contender: str) -> str:
    """The link to a contender's best checkpoint."""
    return "best" if contender == HEAD else f"best-{contender}"


def write_checkpoint(
    run_dir: Path,
    step: int,
    *,
    models: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    best: Mapping[str, Best],
    config: Mapping[str, Any],
    averages: Mapping[str, nn.Module] | None = None,
) -> Path:
    """Write one checkpoint under a temporary name and rename it; then move the ``last`` and ``best`` links.

    A contender's average, where it has one, is saved as its model, and the model's own weights with the moments.

    Raises:
        MachineError: the disk is full or failed; every link still leads to a whole checkpoint.
    """
    final = checkpoint_dir(run_dir, step)
    final.parent.mkdir(parents=True, exist_ok=True)
    state = {"step": step, "best": {name: asdict(value) for name, value in best.items()}}

    def parts() -> Iterator[tuple[str, bytes]]:
        for name, model in {**models, **(averages or {})}.items():
            yield model_file(name), tensor_bytes(model.state_dict())
        for name in averages or {}:
            yield weights_file(name), tensor_bytes(models[name].state_dict())
        for name, optimizer in optimizers.items():
            yield f"training_state/{name}.safetensors", tensor_bytes(moments(models[name], optimizer))
        yield "training_state/state.json", json_bytes(state)
        yield STEPS, json_bytes(dict.fromkeys(models, step))
        yield "config.json", json_bytes(config)

    publish(final, listed(parts()))
    point(run_dir / "last", final)
    for name, value in best.items():
        if value.step == step:
            point(run_dir / link_name(name), final)
    return final


def listed(files: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """The files of a checkpoint, and after them the list that says what each should be."""
    said = {}
    for name, data in files:
        said[name] = describe(data)
        yield name, data
    yield LIST, json_bytes(said)


def relink(run_dir: Path, last: Path, best: Mapping[str, Best]) -> None:
    """Point every link at what a resumed run knows; checkpoints newer than ``last`` are set aside."""
    point(run_dir / "last", last)
    for name, value in best.items():
        point(run_dir / link_name(name), checkpoint_dir(run_dir, value.step))
    known = {link_name(name) for name in best}
    for link in run_dir.glob("best*"):
        if link.is_symlink() and link.name not in known:  # of a validation that this run has not come to yet
            link.unlink()
    for path in checkpoints(run_dir):
        if int(path.name) > int(last.name):
            set_aside(path)


def prune(run_dir: Path, keep_last: int, kept: Callable[[int], bool]) -> None:
    """Remove old checkpoints: all but the newest ``keep_last``, those with a link, and those that are ``kept``.

    A checkpoint loses its name before its files, so that a numbered folder is always whole.
    """
    linked = {path.resolve() for path in run_dir.iterdir() if path.is_symlink()}
    for path in checkpoints(run_dir)[keep_last:]:
        if path.resolve() not in linked and not kept(int(path.name)):
            set_aside(path)
    for path in (run_dir / "checkpoints").glob(".[0-9]*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in run_dir.glob(".*"):
        if path.is_symlink():  # of a process that died before it was renamed
            path.unlink()


def checkpoints(run_dir: Path) -> list[Path]:
    """Checkpoint folders, newest first; valid or not."""
    folder = run_dir / "checkpoints"
    names = [path for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
    return sorted(names, key=lambda path: int(path.name), reverse=True)


def newest_valid(run_dir: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that is whole, and what was wrong with the newer ones.

    Raises:
        WeightsError, StoreMismatch: it is whole, and of another task or other features than the run.
    """
    problems: list[str] = []
    for path in checkpoints(run_dir):
        problem = fault(path)
        if problem is None:
            refuse_foreign(run_dir, path)
            return path, problems
        problems.append(f"checkpoint {path.name} is damaged: {problem}")
    return None, problems


def restore(
    path: Path,
    models: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    averages: Mapping[str, nn.Module] | None = None,
) -> dict[str, Best]:
    """Load weights and optimiser moments in place; returns the best values so far.

    Raises:
        WeightsError: the checkpoint holds other contenders or shapes.
    """
    for name, average in (averages or {}).items():
        load_model(path, name, average)
    for name, model in models.items():
        load_weights(path / (weights_file(name) if name in (averages or {}) else model_file(name)), model)
        file = path / "training_state" / f"{name}.safetensors"
        set_moments(model, optimizers[name], read_tensors(file, moment_shapes(file, model)))
    state = read_json(path / "training_state" / "state.json")
    try:
        return {name: _best(said) for name, said in state["best"].items()}
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise WeightsError(f"{path} does not say which checkpoints were best", found=error) from None


def _best(said: Mapping[str, Any]) -> Best:
    """Loss and first step are not in what was written before they were known."""
    loss, reached = said.get("loss"), said.get("reached")
    return Best(
        int(said["step"]),
        float(said["value"]),
        None if loss is None else float(loss),
        None if reached is None else int(reached),
    )


def load_model(path: Path, name: str, model: nn.Module) -> None:
    """Load one contender's weights into a model of the same shape; raises WeightsError."""
    load_weights(path / model_file(name), model)


def load_weights(file: Path, model: nn.Module) -> None:
    """Load a file of weights into a model of the same shape; raises WeightsError."""
    model.load_state_dict(read_tensors(file, shapes_of(model.state_dict())), strict=True)


def steps_of(path: Path) -> dict[str, int]:
    """After how many steps each contender's weights were taken; raises WeightsError."""
    found = read_json(path / STEPS)
    if not isinstance(found, dict) or not all(type(step) is int for step in found.values()):
        raise WeightsError(f"{path / STEPS} does not say after how many steps", found=found)
    return found


def model_file(contender: str) -> str:
    """Where a contender's weights lie inside a checkpoint."""
    return "model.safetensors" if contender == HEAD else f"controls/{contender}.safetensors"


def weights_file(contender: str) -> str:
    """Where the weights that take the steps lie, if those of :func:`model_file` are their average."""
    return f"training_state/weights/{contender}.safetensors"


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """A safetensors file."""
    data: bytes = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    return data


def json_bytes(value: Any) -> bytes:
    """A JSON file for people and programs."""
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
