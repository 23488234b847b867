"""Pretraining the embedded X-VLA, so that its frozen features hold something to find.

Random weights ground nothing, and the real X-VLA is pretrained; so is its stand-in, in the manner of Florence-2 and
X-VLA and not on the grounding task: dense object presence (on R, on the projected image tokens and on Z), phrase
grounding with short referring phrases, and lerobot's own X-VLA action loss on expert trajectories for the task's
instruction; over the cloth table, object presence, where its corners are, and the action loss. The pretext heads and
the action transformer are thrown away.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from .checkpoints import TOWER_WIDTH, WIDTH, build_policy, load_vlm, write_tokenizer
from .cloth_pretext import ClothSampler
from .cloth_readouts import ClothHeads, cloth_losses, evaluate_cloths
from .language import COLOURS
from .pretraining import PretrainConfig, run_pretraining
from .samples import SEEN, Batch, Sampler, subcells
from .xvla_passes import action_loss, bce, encode_images, export, fuse, initialise

STATES = 1 + len(COLOURS)  # of what is held, and of what was placed: nothing, or a colour
FINE = 4  # quarter cells of a 7x7 cell: what the 14x14 shares say of it


class Pretraining(NamedTuple):
    """What is trained together: lerobot's X-VLA model and the readouts."""

    xvla: Any
    heads: "PretextHeads"


class ClothScenes(NamedTuple):
    """Directories of :func:`~.pretext.write_pretext` with ``draw_cloth_rows``, and how many frames a step takes."""

    data: Path
    held_out: Path
    batch_size: int = 24


class PretextHeads(nn.Module):
    """Linear readouts that say what the features must hold; thrown away afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.LayerNorm(TOWER_WIDTH), nn.Linear(TOWER_WIDTH, len(SEEN)))
        self.projected = nn.Linear(WIDTH, len(SEEN) * FINE)
        self.fused = nn.Linear(WIDTH, len(SEEN) * FINE)
        self.phrase = nn.Linear(WIDTH, FINE)
        self.present = nn.Linear(WIDTH, 1)
        self.held, self.placed = nn.Linear(WIDTH, STATES), nn.Linear(WIDTH, STATES)


def pretrain(config: PretrainConfig, cloths: ClothScenes) -> dict[str, Any]:
    """Train, resume if a checkpoint is there, save ``xvla.safetensors`` (bf16) and return the held-out scores.

    Args:
        config: how long, on which scenes of the cube table, where to.
        cloths: the scenes of the cloth table that every step sees as well.
    """
    from transformers import AutoTokenizer

    config.out.mkdir(parents=True, exist_ok=True)
    tokenizer_dir = config.out / "tokenizer"
    if not tokenizer_dir.exists():
        tokenizer_dir.mkdir()
        write_tokenizer(tokenizer_dir)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_dir)
    policy = build_policy(tokenizer_dir, seed=config.seed)
    torch.manual_seed(config.seed)
    heads, cloth_heads = PretextHeads(), ClothHeads()
    parts = Pretraining(policy.model, heads)
    model = nn.ModuleDict({"xvla": policy.model, "heads": heads, "cloth_heads": cloth_heads})
    if config.start_from is None:
        initialise(policy.model.vlm)
    else:
        load_vlm(policy, load_file(config.start_from))
    policy.model.vlm.vision_tower.to(memory_format=torch.channels_last)
    cubes, held_out_cubes = (Sampler(d, tokenizer, seed=config.seed) for d in (config.data, config.held_out))
    seen, held_out = (ClothSampler(d, tokenizer, seed=config.seed) for d in (cloths.data, cloths.held_out))

    def terms(step: int) -> dict[str, Tensor]:
        of_cubes = losses(parts, cubes.batch(step, config.batch_size))
        return {**of_cubes, **cloth_losses(policy.model, cloth_heads, seen.batch(step, cloths.batch_size))}

    def scores() -> dict[str, float]:
        return {**evaluate(parts, held_out_cubes), **evaluate_cloths(policy.model, cloth_heads, held_out)}

    found = run_pretraining(config, model, terms, scores)
    export(policy.model.vlm, config.out / "xvla.safetensors")
    return found


def losses(parts: Pretraining, batch: Batch) -> dict[str, Tensor]:
    """The pretext's terms: object shares on R, projected tokens and Z; phrases; presence; X-VLA's actions."""
    xvla, heads = parts
    r, tokens = encode_images(xvla, batch.pixels)  # (b 14 14 c), (b 50 d)
    b, p, n = batch.phrases.shape
    texts = torch.cat([batch.phrases.reshape(b * p, n), batch.instructions])  # (bp+b n)
    z = fuse(xvla, torch.cat([tokens.repeat_interleave(p, 0), tokens]), texts)  # (bp+b, 50+n, d)
    seen, asked, said = z[:, 1:50], z[: b * p], z[b * p :]
    cells = subcells(batch.shares)  # (b 49 o 4)
    every = torch.cat([cells.repeat_interleave(p, 0), cells])
    masks = subcells(batch.referents.reshape(b * p, 1, *batch.referents.shape[2:]))[:, :, 0]  # (bp 49 4)
    there = (batch.referents.sum((2, 3)) > 0.15).float().reshape(b * p)
    return {
        "tower": 4 * bce(heads.tower(r).permute(0, 3, 1, 2), batch.shares),
        "image": 4 * bce(heads.projected(tokens[:, 1:]).reshape(cells.shape), cells),
        "fused": 4 * bce(heads.fused(seen).reshape(every.shape), every),
        "phrase": 16 * bce(heads.phrase(asked[:, 1:50]), masks),
        "present": 0.1 * bce(heads.present(asked[:, 50]).squeeze(-1), there),
        "state": 0.1 * _state_loss(heads, z, batch, p),
        "action": 1.0 * action_loss(xvla, said, states=batch.states, actions=batch.actions, expert=batch.expert),
    }


def _state_loss(heads: PretextHeads, z: Float[Tensor, "t s d"], batch: Batch, asked: int) -> Float[Tensor, ""]:
    """Which cube is held and which was placed, read from the pooled token under every text."""
    loss = torch.zeros(())
    for readout, truth in ((heads.held, batch.held), (heads.placed, batch.placed)):
        every = torch.cat([truth.repeat_interleave(asked), truth])
        loss = loss + F.cross_entropy(readout(z[:, 0]), every)
    return loss


@torch.inference_mode()
def evaluate(parts: Pretraining, sampler: Sampler, size: int = 32) -> dict[str, float]:
    """Held-out average precision per object on 7x7 cells (share >= 0.1) of Z under the instruction, and of phrases."""
    from ...metrics.curves import average_precision

    xvla, heads = parts
    xvla.eval()
    found: dict[str, list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]] = {}
    size = min(size, len(sampler))
    for k in range(len(sampler) // size):
        batch = sampler.batch(k, size, augment=False)
        _, tokens = encode_images(xvla, batch.pixels)
        cells = subcells(batch.shares).mean(-1)  # (b 49 o)
        logits = heads.fused(fuse(xvla, tokens, batch.instructions)[:, 1:50]).reshape(*cells.shape, FINE)
        for index in range(2, len(SEEN)):
            pair = (logits.amax(-1)[..., index].numpy(), (cells[..., index] >= 0.1).numpy())
            found.setdefault(SEEN[index], []).append(pair)
        for p, kind in enumerate(("phrase", "phrase of colour and state")):
            z = fuse(xvla, tokens, batch.phrases[:, p])
            wanted = subcells(batch.referents[:, p : p + 1])[:, :, 0].mean(-1)
            found.setdefault(kind, []).append((heads.phrase(z[:, 1:50]).amax(-1).numpy(), (wanted >= 0.1).numpy()))
    return {
        name: round(average_precision(*(np.concatenate(side) for side in zip(*pairs, strict=True))), 4)
        for name, pairs in found.items()
    }
