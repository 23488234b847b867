"""The loop: every contender learns from every batch, is judged on the same validation, and keeps its own best.

It knows neither task nor head; see :class:`~visual_thought.train.tasks.base.Task`.
"""

import math
import time
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from tqdm import tqdm

from ..pipeline.errors import Interrupted
from ..pipeline.interrupt import Stop
from . import checkpoint
from .best import better
from .checkpoint import HEAD
from .divergence import diverged
from .loader import Batch, Loaded, Loader
from .objectives.terms import pooled
from .optimizer import rate_factor
from .sampling import EpochOrder, InOrder, Plan, Share, WindowOrder
from .seeds import own_randomness
from .state import Racer, Run, averages_of, bests_of, models_of, open_loader, optimizers_of
from .step import backward, update
from .tasks.base import Observation, Task


def run_steps(run: Run, start: int, stop: Stop) -> None:
    """Train from step ``start`` to the end, or until ``stop`` says so, validating and saving on the way.

    Raises:
        Interrupted: a signal asked to stop; a checkpoint of the last whole step is in place.
        VisualThoughtError: a loss that is not a finite number; its examples are saved in the run folder.
    """
    config = run.config
    with (
        own_randomness(),
        open_train_loader(run, range(start, config.steps)) as loader,
        tqdm(total=config.steps, initial=start, unit="step", disable=not (config.progress and run.team.main)) as bar,
    ):
        pace = Pace(loader)
        for loaded in loader:
            take_step(run, loaded)
            done = loaded.draw.step + 1
            bar.update()
            if done % config.log_freq == 0 or done == config.steps:
                _log(run, done, pace, bar)
            if _keep(run, done, stop):
                break


def open_train_loader(run: Run, steps: range) -> Loader:
    """A loader of this process's share of the training steps."""
    order, team, config = train_order(run), run.team, run.config
    mine = order if team.count == 1 else Share(order, team.index, team.count)
    ahead = order.ahead if isinstance(order, WindowOrder) else None
    return open_loader(run, run.data.train_fields, mine, steps, -(-config.batch_size // team.count), ahead=ahead)


def train_order(run: Run) -> EpochOrder | WindowOrder:
    """Which examples each training step sees."""
    config, examples = run.config, run.data.splits["train"]
    if config.loader.shuffle == "full":
        return EpochOrder(examples, config.batch_size, config.reading_seed)
    parts, window = run.data.parts[examples], config.loader.window_parts
    return WindowOrder(examples, parts, config.batch_size, seed=config.reading_seed, window=window)


def take_step(run: Run, loaded: Loaded) -> None:
    """One optimiser step of every contender on one batch."""
    step = loaded.draw.step
    for racer in (racer for racer in run.racers if racer.contender.trains):
        loss = float(backward(run, racer, loaded.batch, step))
        if not math.isfinite(loss):
            raise diverged(run, train_order(run)(step), racer, loss)
        update(run, racer, step)
        run.recent.setdefault(racer.contender.name, []).append(loss)


def _keep(run: Run, done: int, stop: Stop) -> bool:
    """Validate and save when it is time; whether this was the last step. Stop if a signal said so, to any process."""
    config = run.config
    judged = done % config.eval_freq == 0 or done == config.steps
    wanted = bool(config.save_freq) and done % config.save_freq == 0
    stopped = run.team.any(bool(stop))
    if judged:
        _validate(run, done)
    ended = done == config.steps or out_of_patience(run, done)
    if ended and done < config.steps:
        run.journal.note(done, f"stopped early: {config.early_stop} validations of the head without a better one")
    if judged or wanted or stopped:
        save(run, done)
        let_go(run)
    if stopped and not ended:
        run.team.wait()  # who ends first makes a launcher end the others, and the main process may still be saving
        raise Interrupted(
            f"training stopped by {stop.signal or 'a signal to another process'} after step {done} of {config.steps}",
            found=f"checkpoint {checkpoint.checkpoint_dir(run.out, done)}",
            remedy="run the same command with --resume",
        )
    return ended


def out_of_patience(run: Run, done: int) -> bool:
    """Whether the head's last ``early_stop`` validations were not better than an earlier one.

    A function of the step and the best validation alone, so a resumed run knows it too.
    """
    config, best = run.config, bests_of(run.racers).get(HEAD)
    since = done // config.eval_freq - (best.since // config.eval_freq if best else 0)
    return 0 < config.early_stop <= since


def _validate(run: Run, done: int) -> None:
    """Score every contender on the validation split, and on some training examples in eval mode."""
    for split in ("val", "train"):
        examples = run.data.splits[split] if split == "val" else run.data.splits["train_eval"]
        for name, values in evaluate_split(run, examples).items():
            run.journal.write("validation", done, name, values, split=split)
            if split == "val":
                note_best(run, next(racer for racer in run.racers if racer.contender.name == name), done, values)


def evaluate_split(run: Run, examples: Int[np.ndarray, " m"]) -> dict[str, dict[str, float]]:
    """Loss terms and metrics of every contender on some examples, in eval mode; nothing for no examples.

    Each of several processes sees every ``count``-th batch, and all of them get the numbers.
    """
    if not len(examples):
        return {}
    plan, team = InOrder(examples, run.config.eval_batch_size), run.team
    mine = range(team.index, len(plan), team.count)
    seen = team.gather(_observe_batches(run, lambda step: plan(mine[step]), len(mine), plan.batch_size))
    whole = [batch for row in zip_longest(*seen) for batch in row if batch is not None] if team.main else []
    return team.share(_all_scores(run, whole))


def _observe_batches(run: Run, plan: Plan, count: int, batch_size: int) -> list[dict[str, Observation]]:
    """What every contender makes of each of some batches."""
    with (
        open_loader(run, run.data.eval_fields, plan, range(count), batch_size) as loader,
        torch.inference_mode(),
    ):
        return [{racer.contender.name: observe(run, racer, loaded.batch) for racer in run.racers} for loaded in loader]


def observe(run: Run, racer: Racer, batch: Batch) -> Observation:
    """What one contender makes of a batch in eval mode; its average, where it has one."""
    model = racer.judged.eval()
    with run.autocast():
        observation = run.task.observe(model, racer.contender.view(batch))
    racer.contender.model.train()
    return observation


def _all_scores(run: Run, seen: list[dict[str, Observation]]) -> dict[str, dict[str, float]]:
    names = seen[0] if seen else ()
    return {name: scores(run.task, [batch[name] for batch in seen]) for name in names}


def scores(task: Task, observations: list[Observation]) -> dict[str, float]:
    """Loss terms and metrics of all that was observed of one contender."""
    names = observations[0].arrays
    joined = {name: np.concatenate([seen.arrays[name] for seen in observations]) for name in names}
    return pooled(seen.terms for seen in observations) | task.metrics(joined)


def note_best(run: Run, racer: Racer, done: int, values: Mapping[str, float]) -> None:
    """Remember a validation that is better than those before; see :func:`~.best.rank`."""
    sign = 1.0 if run.task.higher_is_better else -1.0
    racer.best = better(racer.best, done, values[run.task.best_by], values.get("loss"), sign=sign)


def save(run: Run, done: int) -> None:
    """Write a checkpoint of everybody."""
    if not run.team.main:
        return
    checkpoint.write_checkpoint(
        run.out,
        done,
        models=models_of(run.racers),
        optimizers=optimizers_of(run.racers),
        averages=averages_of(run.racers),
        best=bests_of(run.racers),
        config=run.described,
    )


def let_go(run: Run) -> None:
    """Remove the checkpoints that need not be kept."""
    if not run.team.main:
        return
    freq = run.config.save_freq
    checkpoint.prune(run.out, run.config.keep_last, lambda step: bool(freq) and step % freq == 0)


def _log(run: Run, done: int, pace: "Pace", bar: "tqdm[Any]") -> None:
    speed = pace.lap(run.config.batch_size * len(run.recent[HEAD]))
    rate = run.config.optimizer.lr * rate_factor(done - 1, run.config.steps, run.config.scheduler)
    for name, losses in run.recent.items():
        run.journal.write("train", done, name, {"loss": sum(losses) / len(losses), "lr": rate, **speed})
    loss = sum(run.recent[HEAD]) / len(run.recent[HEAD])
    bar.set_postfix_str(f"loss {loss:.3f}, {speed['samples_per_s']:.0f} samples/s, waiting {speed['waiting']:.0%}")
    run.recent.clear()


class Pace:
    """Samples a second and the share of time spent waiting for data, since the last lap."""

    def __init__(self, loader: Loader) -> None:
        self._loader, self._time, self._waited = loader, time.perf_counter(), loader.waited_s

    def lap(self, samples: int) -> dict[str, float]:
        """The pace of this many samples since the last lap."""
        now, waited = time.perf_counter(), self._loader.waited_s
        elapsed = max(now - self._time, 1e-9)
        speed = {"samples_per_s": samples / elapsed, "waiting": (waited - self._waited) / elapsed}
        self._time, self._waited = now, waited
        return speed
