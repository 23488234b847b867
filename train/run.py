"""The training stage: store and labels in, run folder out."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Int

from ..pipeline import registry
from ..pipeline.errors import ConfigError, Interrupted, ManifestError
from ..pipeline.interrupt import Stop, stop_on_signals
from ..pipeline.machine import available_memory
from ..pipeline.manifest import DatasetManifest, assign_splits
from . import checkpoint
from .averages import average_of
from .best import Best
from .boards import Board, Guarded, TensorBoard, Wandb
from .card import carded
from .checkpoint import HEAD, Checkpoint
from .compiled import compile_terms
from .config import TrainConfig
from .inputs import Inputs, describe_run, open_inputs, summary
from .journal import Journal, read_journal
from .loop import out_of_patience, run_steps
from .optimizer import make_optimizer
from .processes import Team, join
from .resume import begin, earlier_run
from .sampling import EVALUATION_SEED
from .seeds import own_randomness, stream_seed
from .sources import Free, open_sources
from .state import Data, Racer, Run, bests_of
from .tasks.base import Contender, Examples, Task

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
    team = join(config.device)
    with team.together(), stop_on_signals() as stop:
        return _train(config, team, stop)


def _train(config: TrainConfig, team: Team, stop: Stop) -> Checkpoint:
    earlier = earlier_run(config)
    _refuse_small_steps(config, team)
    with open_inputs(config, earlier) as inputs:
        task: Task = registry.load("task", config.task)(config, inputs.specs)
        config = task.config
        examples = task.examples(inputs.manifest, inputs.indexes)
        splits = split_examples(inputs.manifest, examples, config)
        device = team.device or pick_device(config.device)
        data = gather(task, inputs, examples, splits, device, here=team.here, stop=stop)
        task.prepare(data.sources, examples, splits["train"])
        refuse_to_start(stop)
        racers = build_racers(task, device)
        record = describe_run(config, inputs, examples, splits, device=device, processes=team.count)
        team.wait()  # until all have seen the run folder as it was
        start, notes = begin(config, record, earlier, racers, team)
        with open_journal(config, start, summary(record), team) as journal:
            for note in notes if team.main else ():
                LOG.warning(note)
                journal.note(start, note)
            run = Run(config, task, racers, data, journal, device, summary(record), team)
            with carded(config.out) if team.main else nullcontext():
                if not out_of_patience(run, start):
                    run_steps(run, start, stop)
    done = finished(config.out, bests_of(racers), task.best_by) if team.main else None
    return cast(Checkpoint, team.share(done))


def open_journal(config: TrainConfig, start: int, described: Mapping[str, Any], team: Team) -> Journal:
    """The log of a run that goes on at step ``start``; a process that is not the main one keeps none."""
    if not team.main:
        return Journal(None)
    boards: list[Board] = []
    if config.tensorboard:
        boards.append(Guarded("TensorBoard", lambda: TensorBoard(config.out / "tensorboard", start)))
    if config.wandb.enable:
        boards.append(Guarded("W&B", lambda: Wandb(config.out, config.wandb, described)))
    return Journal(config.out, start=start, boards=boards)


def refuse_to_start(stop: Stop | None) -> None:
    """Interrupted if a signal came before the first step."""
    if stop:
        raise Interrupted(f"stopped by {stop.signal} before the next step", remedy="run the same command with --resume")


def _refuse_small_steps(config: TrainConfig, team: Team) -> None:
    if config.batch_size < team.count * config.accumulate:
        raise ConfigError(
            "a step has too few examples to share",
            found=f"batch_size {config.batch_size}",
            expected=f"one for each of {team.count} processes x {config.accumulate} micro-batches, or more",
            remedy="raise batch_size, or lower accumulate or the number of processes",
        )


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
    rng = np.random.default_rng(stream_seed(config.reading_seed, "train_eval"))
    chosen = rng.permutation(splits["train"])[: config.eval_train_rows]
    return splits | {"train_eval": np.sort(chosen)}


def build_racers(task: Task, device: torch.device) -> tuple[Racer, ...]:
    """The head and its controls with fresh weights; each one's weights depend on the seed and its name alone."""
    racers = []
    with own_randomness():
        for name in task.names:
            torch.manual_seed(stream_seed(task.config.seed, "init", name))
            contender = task.contender(name)
            racers.append(enter(task, contender, device))
    return tuple(racers)


def enter(task: Task, contender: Contender, device: torch.device) -> Racer:
    """A contender with what it trains with, as the task's config says."""
    config, model = task.config, contender.model.to(device).train()
    terms = compile_terms(task.terms) if config.compile else task.terms
    return Racer(
        contender, make_optimizer(model, config.optimizer), terms, average_of(model) if config.ema_decay else None
    )


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


def finished(run_dir: Path, best: Mapping[str, Best], best_by: str) -> Checkpoint:
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
    return Checkpoint(run_dir=run_dir, path=path, step=int(path.name), metrics=metrics, best_by=best_by)


def gather(
    task: Task,
    inputs: Inputs,
    examples: Examples,
    splits: Mapping[str, Int[np.ndarray, " m"]],
    device: torch.device,
    *,
    here: int = 1,
    stop: Stop | None = None,
) -> Data:
    """Where the rows of the train and val examples come from, in memory if they fit ``here`` times.

    Raises:
        Interrupted: a signal asked to stop while they were read into memory.
    """
    used = np.concatenate([splits["train"], splits["val"]])
    train_fields, eval_fields = (task.fields(examples, seed) for seed in (task.config.reading_seed, EVALUATION_SEED))
    read = [*train_fields.values(), *eval_fields.values()]
    wanted = {
        name: np.concatenate([field.rows[used] for field in read if field.feature == name]) for name in examples.rows
    }
    readers = {name: inputs.readers[name] for name in wanted}
    largest = max(readers, key=lambda name: readers[name].spec.row_bytes)
    free = Free(available_memory() // here, device, torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0)
    return Data(
        examples=examples,
        sources=open_sources(readers, wanted, task.config.loader, free, between=lambda: refuse_to_start(stop)),
        train_fields=train_fields,
        eval_fields=eval_fields,
        splits=splits,
        parts=readers[largest].part_of(examples.rows[largest]),
    )
