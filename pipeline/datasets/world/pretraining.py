"""The loop that pretrains an embedded backbone on its pretext: resumable, scored on held-out scenes."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm


@dataclass(frozen=True)
class PretrainConfig:
    """One pretraining run.

    Args:
        data: directory of :func:`~.pretext.write_pretext`.
        held_out: another such directory, from other seeds, for the pretext scores.
        out: where checkpoints, log and the final weights go; a run found there is resumed.
        steps: optimiser steps; the learning rate falls to zero over the last quarter.
        batch_size: frames of the cube table a step; each is seen with two phrases and one instruction.
        lr: peak learning rate of AdamW.
        seed: of weights and batches.
        save_every: steps between checkpoints and scores.
        start_from: vision-language weights to go on from (an earlier ``xvla.safetensors``; X-VLA only), or None.
        stop_after: stop at this step as if interrupted; the same call without it goes on.
        progress: show a bar on stderr.
    """

    data: Path
    held_out: Path
    out: Path
    steps: int = 1400
    batch_size: int = 32
    lr: float = 1e-3
    seed: int = 0
    save_every: int = 200
    start_from: Path | None = None
    stop_after: int | None = None
    progress: bool = True


def run_pretraining(
    config: PretrainConfig,
    model: nn.Module,
    losses: Callable[[int], dict[str, Tensor]],
    evaluate: Callable[[], dict[str, float]],
) -> dict[str, Any]:
    """Train in place, from the newest checkpoint if there is one; writes log and recipe, returns the held-out scores.

    Args:
        config: how long, on what, where to.
        model: everything that is trained, readouts included.
        losses: the terms of a step, weighted.
        evaluate: scores on the held-out scenes.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=0.03, betas=(0.9, 0.98))
    start = resume(config.out, model, optimiser)
    scores: dict[str, Any] = {}
    steps = range(start, min(config.steps, config.stop_after or config.steps))
    bar = tqdm(steps, initial=start, total=config.steps, desc="pretrain", unit="step", disable=not config.progress)
    for step in bar:
        torch.manual_seed(config.seed * 1_000_003 + step)  # losses may draw noise; the same after a resume
        for group in optimiser.param_groups:
            group["lr"] = config.lr * schedule(step, config.steps)
        model.train()
        terms = losses(step)
        optimiser.zero_grad(set_to_none=True)
        sum(terms.values(), torch.zeros(())).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        bar.set_postfix({name: f"{value.item():.3f}" for name, value in terms.items()})
        if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
            model.eval()
            scores = {"step": step + 1, **evaluate()}
            with (config.out / "log.jsonl").open("a") as log:
                log.write(json.dumps(scores | {f"loss_{k}": round(v.item(), 4) for k, v in terms.items()}) + "\n")
            save(config.out, model, optimiser, step + 1)
    recipe = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}
    (config.out / "recipe.json").write_text(json.dumps({"recipe": recipe, "held_out": scores}, indent=1))
    return scores


def schedule(step: int, steps: int) -> float:
    """Warm-up over 150 steps, constant, then linear to zero over the last quarter."""
    return min((step + 1) / 150, 1.0, (steps - step) / (0.25 * steps))


def save(out: Path, model: nn.Module, optimiser: torch.optim.Optimizer, step: int) -> None:
    """Write model and optimiser to ``resume.safetensors``, whole or not at all."""
    state = {f"model.{k}": v.contiguous().clone() for k, v in model.state_dict().items()}
    for index, slots in optimiser.state_dict()["state"].items():
        state |= {f"optimiser.{index}.{k}": v.contiguous().clone() for k, v in slots.items()}
    state["step"] = torch.tensor(step)
    save_file(state, out / "resume.part")
    (out / "resume.part").rename(out / "resume.safetensors")


def resume(out: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Load what :func:`save` wrote, if it is there; returns the step to go on from."""
    path = out / "resume.safetensors"
    if not path.exists():
        return 0
    state = load_file(path)
    model.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".")
            slots.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})
    return int(state["step"])
