"""The training stage: store and labels in, run folder out."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from ..pipeline import registry
from ..pipeline.errors import ConfigError, ManifestError
from ..pipeline.machine import available_memory
from ..pipeline.manifest import DatasetManifest, assign_splits
from . import checkpoint
from .card import carded
from .checkpoint import HEAD, Best, Checkpoint
from .config import TrainConfig
from .inputs import Inputs, describe_run, open_inputs, summary
from .journal import Journal, read_journal
from .loop import run_steps
from .optimizer import make_optimizer
from .resume import begin, earlier_run
from .sampling import EVALUATION_SEED
from .seeds import own_randomness, stream_seed
from .sources import Free, open_sources
from .state import Data, Racer, Run
from .tasks.base import Examples, Task

LOG = logging.getLogger(__name__)


def train(config: TrainConfig) -> Checkpoint:
    """Train a head and its controls from cached features, in one pass over shared batches.

    Writes ``run.json``, ``metrics.jsonl``, ``checkpoints/`` and a card into ``config.out``; see :mod:`.checkpoint`.

    Raises:
        ConfigError: the run folder holds a run, a key cannot be meant, or a feature name is ambiguous.
        StoreError: the store is missing, damaged, incomplete, or made by something else (StoreMismatch).
        ManifestError: labels or splits that contradict themselves, or an empty split.
        Interrupted: stopped by a signal, resumable.
        VisualThoughtError: the loss is no longer finite.
    """
    earlier = earlier_run(config)
    with open_inputs(config, earlier) as inputs:
        task: Task = registry.load("task", config.task)(config, inputs.specs)
        config = task.config
        examples = task.examples(inputs.manifest, inputs.indexes)
        splits = split_examples(inputs.manifest, examples, config)
        device = pick_device(config.device)
        data = gather(task, inputs, examples, splits, device)
        racers = build_racers(task, device)
        record = describe_run(config, inputs, examples, splits, device=device)
        config.out.mkdir(parents=True, exist_ok=True)
        start, notes = begin(config, record, earlier, racers)
        with Journal(config.out, start=start, tensorboard=config.tensorboard) as journal:
            for note in notes:
                LOG.warning(note)
                journal.note(start, note)
            with carded(config.out):
                run_steps(Run(config, task, racers, data, journal, device, summary(record)), start)
    return finished(config.out, {racer.contender.name: racer.best for racer in racers if racer.best is not None})


def split_examples(
    manifest: DatasetManifest, examples: Examples, config: TrainConfig
) -> dict[str, Int[np.ndarray, " m"]]:
    """Example numbers of ``train``, ``val`` and ``test`` by whole episodes, and of ``train_eval``.

    ``train_eval`` is a fixed random part of ``train`` that validations score in eval mode.

    Raises:
        ManifestError: train or val has no example.
    """
    episode = examples.table["episode_index"].to_numpy()
    assigned = assign_splits(manifest, examples.episodes)
    splits = {name: np.flatnonzero(np.isin(episode, episodes)) for name, episodes in assigned.items()}
    for name in ("train", "val"):
        if not len(splits[name]):
            raise ManifestError(
                f"the split `{name}` of {manifest.name} holds no example",
                found={key: len(found) for key, found in splits.items()},
                expected="examples to train on, and others to choose the best checkpoint by",
                remedy="change `splits` in the manifest, or label and extract episodes of that split",
            )
    rng = np.random.default_rng(stream_seed(config.seed, "train_eval"))
    chosen = rng.permutation(splits["train"])[: config.eval_train_rows]
    return splits | {"train_eval": np.sort(chosen)}


def build_racers(task: Task, device: torch.device) -> tuple[Racer, ...]:
    """The head and its controls with fresh weights; each one's weights depend on the seed and its name alone."""
    racers = []
    with own_randomness():
        for name in task.names:
            torch.manual_seed(stream_seed(task.config.seed, "init", name))
            contender = task.contender(name)
            contender.model.to(device).train()
            racers.append(Racer(contender, make_optimizer(contender.model, task.config.optimizer)))
    return tuple(racers)


def pick_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is the accelerator if there is one.

    Raises:
        ConfigError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"there is no device {name!r}", found=str(error).split("\n")[0], remedy="device=cpu"
        ) from None
    return device


def finished(run_dir: Path, best: Mapping[str, Best]) -> Checkpoint:
    """What a run has come to: the head's best checkpoint and every contender's best metrics."""
    lines = [line for line in read_journal(run_dir) if line["kind"] == "validation" and line["split"] == "val"]
    chosen = {(name, value.step) for name, value in best.items()}
    labels = ("kind", "step", "contender", "split")
    metrics = {
        line["contender"]: {"step": line["step"], **{key: value for key, value in line.items() if key not in labels}}
        for line in lines
        if (line["contender"], line["step"]) in chosen
    }
    link = run_dir / (checkpoint.link_name(HEAD) if HEAD in best else "last")
    path = link.resolve()
    return Checkpoint(run_dir=run_dir, path=path, step=int(path.name), metrics=metrics)


def gather(
    task: Task,
    inputs: Inputs,
    examples: Examples,
    splits: Mapping[str, Int[np.ndarray, " m"]],
    device: torch.device,
) -> Data:
    """Where the rows of the train and val examples come from, in memory if they fit."""
    used = np.concatenate([splits["train"], splits["val"]])
    wanted = {name: rows[used] for name, rows in examples.rows.items()}
    readers = {name: inputs.readers[name] for name in wanted}
    largest = max(readers, key=lambda name: readers[name].spec.row_bytes)
    free = Free(available_memory(), device, torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0)
    return Data(
        examples=examples,
        sources=open_sources(readers, wanted, task.config.loader, free),
        train_fields=task.fields(examples, task.config.seed),
        eval_fields=task.fields(examples, EVALUATION_SEED),
        splits=splits,
        parts=readers[largest].part_of(examples.rows[largest]),
    )
