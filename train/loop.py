"""The loop: every contender learns from every batch, is judged on the same validation, and keeps its own best.

It knows neither task nor head; see :class:`~visual_thought.train.tasks.base.Task`.
"""

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from tqdm import tqdm

from ..pipeline.errors import Interrupted
from ..pipeline.interrupt import Stop, stop_on_signals
from . import checkpoint
from .checkpoint import HEAD, Best
from .divergence import diverged
from .loader import Batch, Loaded, Loader
from .objectives.terms import pooled
from .optimizer import rate_factor
from .sampling import EpochOrder, InOrder, WindowOrder
from .seeds import own_randomness
from .state import Racer, Run, open_loader
from .step import backward, update
from .tasks.base import Observation, Task


def run_steps(run: Run, start: int) -> None:
    """Train from step ``start`` to the end, validating and saving on the way.

    Raises:
        Interrupted: a signal asked to stop; a checkpoint of the last whole step is in place.
        VisualThoughtError: a loss that is not a finite number; its examples are saved in the run folder.
    """
    config = run.config
    order = train_order(run)
    steps = range(start, config.steps)
    with (
        own_randomness(),
        stop_on_signals() as stop,
        open_loader(run, run.data.train_fields, order, steps, config.batch_size) as loader,
        tqdm(total=config.steps, initial=start, unit="step", disable=not config.progress) as bar,
    ):
        pace = _Pace(loader)
        for loaded in loader:
            _step(run, loaded)
            done = loaded.draw.step + 1
            bar.update()
            if done % config.log_freq == 0 or done == config.steps:
                _log(run, done, pace, bar)
            _keep(run, done, stop)


def train_order(run: Run) -> EpochOrder | WindowOrder:
    """Which examples each training step sees."""
    config, examples = run.config, run.data.splits["train"]
    if config.loader.shuffle == "full":
        return EpochOrder(examples, config.batch_size, config.reading_seed)
    parts, window = run.data.parts[examples], config.loader.window_parts
    return WindowOrder(examples, parts, config.batch_size, seed=config.reading_seed, window=window)


def _step(run: Run, loaded: Loaded) -> None:
    """One optimiser step of every contender on one batch."""
    step = loaded.draw.step
    for racer in run.racers:
        loss = float(backward(run, racer, loaded.batch, step))
        if not math.isfinite(loss):
            raise diverged(run, loaded.draw, racer, loss)
        update(run, racer, step)
        run.recent.setdefault(racer.contender.name, []).append(loss)


def _keep(run: Run, done: int, stop: Stop) -> None:
    """Validate and save when it is time; stop if a signal said so."""
    config, last = run.config, done == run.config.steps
    judged = done % config.eval_freq == 0 or last
    wanted = bool(config.save_freq) and done % config.save_freq == 0
    if judged:
        _validate(run, done)
    if judged or wanted or stop:
        _save(run, done)
    if stop and not last:
        raise Interrupted(
            f"training stopped by {stop.signal} after step {done} of {config.steps}",
            found=f"checkpoint {checkpoint.checkpoint_dir(run.out, done)}",
            remedy="run the same command with --resume",
        )


def _validate(run: Run, done: int) -> None:
    """Score every contender on the validation split, and on some training examples in eval mode."""
    for split in ("val", "train"):
        examples = run.data.splits[split] if split == "val" else run.data.splits["train_eval"]
        for name, values in evaluate_split(run, examples).items():
            run.journal.write("validation", done, name, values, split=split)
            if split == "val":
                _note_best(run, next(racer for racer in run.racers if racer.contender.name == name), done, values)


def evaluate_split(run: Run, examples: Int[np.ndarray, " m"]) -> dict[str, dict[str, float]]:
    """Loss terms and metrics of every contender on some examples, in eval mode; nothing for no examples."""
    if not len(examples):
        return {}
    plan = InOrder(examples, run.config.eval_batch_size)
    seen: dict[str, list[Observation]] = {racer.contender.name: [] for racer in run.racers}
    with (
        open_loader(run, run.data.eval_fields, plan, range(len(plan)), plan.batch_size) as loader,
        torch.inference_mode(),
    ):
        for loaded in loader:
            for racer in run.racers:
                seen[racer.contender.name].append(_observe(run, racer, loaded.batch))
    return {name: _scores(run.task, observations) for name, observations in seen.items()}


def _observe(run: Run, racer: Racer, batch: Batch) -> Observation:
    model = racer.contender.model.eval()
    with run.autocast():
        observation = run.task.observe(model, racer.contender.view(batch))
    model.train()
    return observation


def _scores(task: Task, observations: list[Observation]) -> dict[str, float]:
    names = observations[0].arrays
    joined = {name: np.concatenate([seen.arrays[name] for seen in observations]) for name in names}
    return pooled(seen.terms for seen in observations) | task.metrics(joined)


def _note_best(run: Run, racer: Racer, done: int, values: Mapping[str, float]) -> None:
    value = values[run.task.best_by]
    sign = 1.0 if run.task.higher_is_better else -1.0
    if math.isfinite(value) and (racer.best is None or sign * value > sign * racer.best.value):
        racer.best = Best(done, value)


def _save(run: Run, done: int) -> None:
    checkpoint.write_checkpoint(
        run.out,
        done,
        models={racer.contender.name: racer.contender.model for racer in run.racers},
        optimizers={racer.contender.name: racer.optimizer for racer in run.racers},
        best={racer.contender.name: racer.best for racer in run.racers if racer.best is not None},
        config=run.described,
    )
    freq = run.config.save_freq
    checkpoint.prune(run.out, run.config.keep_last, lambda step: bool(freq) and step % freq == 0)


def _log(run: Run, done: int, pace: "_Pace", bar: "tqdm[Any]") -> None:
    speed = pace.lap(run.config.batch_size * len(run.recent[HEAD]))
    rate = run.config.optimizer.lr * rate_factor(done - 1, run.config.steps, run.config.scheduler)
    for name, losses in run.recent.items():
        run.journal.write("train", done, name, {"loss": sum(losses) / len(losses), "lr": rate, **speed})
    loss = sum(run.recent[HEAD]) / len(run.recent[HEAD])
    bar.set_postfix_str(f"loss {loss:.3f}, {speed['samples_per_s']:.0f} samples/s, waiting {speed['waiting']:.0%}")
    run.recent.clear()


class _Pace:
    """Samples a second and the share of time spent waiting for data, since the last lap."""

    def __init__(self, loader: Loader) -> None:
        self._loader, self._time, self._waited = loader, time.perf_counter(), loader.waited_s

    def lap(self, samples: int) -> dict[str, float]:
        now, waited = time.perf_counter(), self._loader.waited_s
        elapsed = max(now - self._time, 1e-9)
        speed = {"samples_per_s": samples / elapsed, "waiting": (waited - self._waited) / elapsed}
        self._time, self._waited = now, waited
        return speed
