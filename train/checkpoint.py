"""Checkpoints: safetensors and JSON only, written whole or not at all, checked before use.

    run/
      run.json  metrics.jsonl
      checkpoints/000123/
        model.safetensors  config.json            the head; config.json rebuilds it without the store
        controls/<name>.safetensors               its controls
        training_state/<name>.safetensors         optimiser moments, one file a contender
        training_state/weights/<name>.safetensors the weights that take the steps, where the above are their average
        training_state/state.json                 step and best values
        files.json                                size and sha256 of the files above; written last
      last  best  best-<control>                  links into checkpoints/

Everything random follows from (seed, step), so no generator has a state to be kept.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..pipeline.errors import WeightsError
from .optimizer import named_trainable

HEAD = "head"


@dataclass(frozen=True)
class Best:
    """The best validation of one contender so far."""

    step: int
    value: float


@dataclass(frozen=True)
class Checkpoint:
    """What :func:`~visual_thought.train.run.train` hands back.

    Args:
        run_dir: the run folder.
        path: the head's best checkpoint.
        step: the steps it was trained for.
        metrics: the validation metrics of that checkpoint by contender: each contender's own best.
    """

    run_dir: Path
    path: Path
    step: int
    metrics: Mapping[str, Mapping[str, float]]

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        metrics = {name: dict(values) for name, values in self.metrics.items()}
        return {"run": str(self.run_dir), "checkpoint": str(self.path), "step": self.step, "val": metrics}

    def render(self) -> str:
        """The same as text for people: each contender's best validation."""
        lines = [f"{self.run_dir}: best checkpoint at step {self.step}"]
        for name, values in self.metrics.items():
            best = {key: value for key, value in values.items() if key in ("f_0_25", "precision", "recall", "loss")}
            lines.append(f"  {name:<18}" + "  ".join(f"{key} {value:.3f}" for key, value in best.items()))
        return "\n".join([*lines, f"  next: vtt eval {self.run_dir}"])


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
    """
    final = checkpoint_dir(run_dir, step)
    temporary = final.parent / f".{final.name}.{uuid.uuid4().hex[:8]}"
    (temporary / "training_state").mkdir(parents=True)
    for name, model in {**models, **(averages or {})}.items():
        save_tensors(temporary / model_file(name), model.state_dict())
    for name in averages or {}:
        save_tensors(temporary / weights_file(name), models[name].state_dict())
    for name, optimizer in optimizers.items():
        save_tensors(temporary / "training_state" / f"{name}.safetensors", moments(models[name], optimizer))
    state = {"step": step, "best": {name: asdict(value) for name, value in best.items()}}
    (temporary / "training_state" / "state.json").write_text(json.dumps(state, indent=1))
    (temporary / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True))
    (temporary / "files.json").write_text(json.dumps(_digests(temporary), indent=1))
    _sync(temporary)
    if final.exists():  # a damaged or older checkpoint of the same step
        final.rename(final.parent / f".{final.name}.{uuid.uuid4().hex[:8]}")
    temporary.rename(final)
    _sync_folder(final.parent)
    _link(run_dir / "last", final)
    for name, value in best.items():
        if value.step == step:
            _link(run_dir / link_name(name), final)
    return final


def relink(run_dir: Path, last: Path, best: Mapping[str, Best]) -> None:
    """Point every link at what a resumed run knows; checkpoints newer than ``last`` are set aside."""
    for path in checkpoints(run_dir):
        if int(path.name) > int(last.name):
            path.rename(path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}")
    _link(run_dir / "last", last)
    for name, value in best.items():
        _link(run_dir / link_name(name), checkpoint_dir(run_dir, value.step))


def prune(run_dir: Path, keep_last: int, kept: Callable[[int], bool]) -> None:
    """Remove old checkpoints: all but the newest ``keep_last``, those with a link, and those that are ``kept``."""
    folder = run_dir / "checkpoints"
    linked = {path.resolve() for path in run_dir.iterdir() if path.is_symlink()}
    for path in checkpoints(run_dir)[keep_last:]:
        if path.resolve() not in linked and not kept(int(path.name)):
            shutil.rmtree(path)
    for path in folder.glob(".[0-9]*"):
        shutil.rmtree(path, ignore_errors=True)


def checkpoints(run_dir: Path) -> list[Path]:
    """Checkpoint folders, newest first; valid or not."""
    folder = run_dir / "checkpoints"
    names = [path for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
    return sorted(names, key=lambda path: int(path.name), reverse=True)


def fault(path: Path) -> str | None:
    """Why a checkpoint cannot be used, or None: every file is there, whole, and no other than was written."""
    try:
        expected = json.loads((path / "files.json").read_text())
        found = {name: _digest(path / name) for name in expected}
    except (OSError, ValueError) as error:
        return str(error)
    wrong = [name for name in expected if found[name] != expected[name]]
    return f"{', '.join(wrong)} is not what was written" if wrong else None


def newest_valid(run_dir: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that is whole, and what was wrong with the newer ones."""
    problems: list[str] = []
    for path in checkpoints(run_dir):
        problem = fault(path)
        if problem is None:
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
        set_moments(model, optimizers[name], _load(path / "training_state" / f"{name}.safetensors"))
    state = json.loads((path / "training_state" / "state.json").read_text())
    return {name: Best(**value) for name, value in state["best"].items()}


def load_model(path: Path, name: str, model: nn.Module) -> None:
    """Load one contender's weights into a model of the same shape; raises WeightsError."""
    load_weights(path / model_file(name), model)


def load_weights(file: Path, model: nn.Module) -> None:
    """Load a file of weights into a model of the same shape; raises WeightsError."""
    try:
        model.load_state_dict(_load(file), strict=True)
    except RuntimeError as error:
        raise WeightsError(f"{file} holds the weights of another model", found=error) from None


def model_file(contender: str) -> str:
    """Where a contender's weights lie inside a checkpoint."""
    return "model.safetensors" if contender == HEAD else f"controls/{contender}.safetensors"


def weights_file(contender: str) -> str:
    """Where the weights that take the steps lie, if those of :func:`model_file` are their average."""
    return f"training_state/weights/{contender}.safetensors"


def moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as flat tensors, ``<moment>/<parameter name>``."""
    return {
        f"{moment}/{name}": value
        for name, parameter in named_trainable(model)
        for moment, value in optimizer.state[parameter].items()
    }


def set_moments(model: nn.Module, optimizer: torch.optim.Optimizer, flat: Mapping[str, Tensor]) -> None:
    """The inverse of :func:`moments`."""
    for name, parameter in named_trainable(model):
        for key, value in flat.items():
            moment, _, owner = key.partition("/")
            if owner == name:
                optimizer.state[parameter][moment] = value.to(parameter.device)


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def _load(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read", found=error) from None
    return tensors


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _digests(folder: Path) -> dict[str, dict[str, Any]]:
    return {str(path.relative_to(folder)): _digest(path) for path in _files(folder)}


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _sync(folder: Path) -> None:
    for path in _files(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        _sync_folder(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(link: Path, target: Path) -> None:
    """Point a relative link at a checkpoint in one step: a new link, renamed over the old one."""
    temporary = link.with_name(f".{link.name}.{uuid.uuid4().hex[:8]}")
    temporary.symlink_to(target.relative_to(link.parent))
    temporary.replace(link)
