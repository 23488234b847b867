"""Pretraining the embedded X-VLA, so that its frozen features hold something to find.

Random weights ground nothing, and the real X-VLA is pretrained; so is its stand-in, in the manner of Florence-2 and
X-VLA and not on the grounding task: dense object presence (on R, on the projected image tokens and on Z), phrase
grounding with short referring phrases, and lerobot's own X-VLA action loss on expert trajectories for the task's
instruction. The pretext heads and the action transformer are thrown away.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .checkpoints import WIDTH, build_policy, load_vlm, write_tokenizer
from .language import COLOURS
from .pretraining import PretrainConfig, run_pretraining
from .samples import SEEN, Batch, Sampler, quarter

STATES = 1 + len(COLOURS)  # of what is held, and of what was placed: nothing, or a colour
FINE = 4  # quarter cells of a 7x7 cell: what the 14x14 shares say of it
TOWER_WIDTH = 96  # channels of R


class Pretraining(NamedTuple):
    """What is trained together: lerobot's X-VLA model and the readouts."""

    xvla: Any
    heads: "PretextHeads"


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


def pretrain(config: PretrainConfig) -> dict[str, Any]:
    """Train, resume if a checkpoint is there, save ``xvla.safetensors`` (bf16) and return the held-out scores."""
    from transformers import AutoTokenizer

    config.out.mkdir(parents=True, exist_ok=True)
    tokenizer_dir = config.out / "tokenizer"
    if not tokenizer_dir.exists():
        tokenizer_dir.mkdir()
        write_tokenizer(tokenizer_dir)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_dir)
    policy = build_policy(tokenizer_dir, seed=config.seed)
    torch.manual_seed(config.seed)
    heads = PretextHeads()
    parts, model = Pretraining(policy.model, heads), nn.ModuleDict({"xvla": policy.model, "heads": heads})
    if config.start_from is None:
        initialise(policy.model.vlm)
    else:
        load_vlm(policy, load_file(config.start_from))
    policy.model.vlm.vision_tower.to(memory_format=torch.channels_last)
    scores = run_pretraining(config, model, tokenizer, lambda batch: losses(parts, batch), lambda s: evaluate(parts, s))
    export(policy.model.vlm, config.out / "xvla.safetensors")
    return scores


def losses(parts: Pretraining, batch: Batch) -> dict[str, Tensor]:
    """The pretext's terms: object shares on R, projected tokens and Z; phrases; presence; X-VLA's actions."""
    xvla, heads = parts
    r, tokens = encode_images(xvla, batch.pixels)  # (b 14 14 c), (b 50 d)
    b, p, n = batch.phrases.shape
    texts = torch.cat([batch.phrases.reshape(b * p, n), batch.instructions])  # (bp+b n)
    z = fuse(xvla, torch.cat([tokens.repeat_interleave(p, 0), tokens]), texts)  # (bp+b, 50+n, d)
    seen, asked, said = z[:, 1:50], z[: b * p], z[b * p :]
    cells = quarter(batch.shares)  # (b 49 o 4)
    every = torch.cat([cells.repeat_interleave(p, 0), cells])
    masks = quarter(batch.referents.reshape(b * p, 1, *batch.referents.shape[2:]))[:, :, 0]  # (bp 49 4)
    there = (batch.referents.sum((2, 3)) > 0.15).float().reshape(b * p)
    return {
        "tower": 4 * _bce(heads.tower(r).permute(0, 3, 1, 2), batch.shares),
        "image": 4 * _bce(heads.projected(tokens[:, 1:]).reshape(cells.shape), cells),
        "fused": 4 * _bce(heads.fused(seen).reshape(every.shape), every),
        "phrase": 16 * _bce(heads.phrase(asked[:, 1:50]), masks),
        "present": 0.1 * _bce(heads.present(asked[:, 50]).squeeze(-1), there),
        "state": 0.1 * _state_loss(heads, z, batch, p),
        "action": 1.0 * action_loss(xvla, said, batch),
    }


def _state_loss(heads: PretextHeads, z: Float[Tensor, "t s d"], batch: Batch, asked: int) -> Float[Tensor, ""]:
    """Which cube is held and which was placed, read from the pooled token under every text."""
    loss = torch.zeros(())
    for readout, truth in ((heads.held, batch.held), (heads.placed, batch.placed)):
        every = torch.cat([truth.repeat_interleave(asked), truth])
        loss = loss + F.cross_entropy(readout(z[:, 0]), every)
    return loss


def encode_images(xvla: Any, pixels: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b g g c"], Tensor]:
    """R (stage 3 of the tower, channels last) and the projected image tokens, out of one pass."""
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    out = xvla.vlm.get_image_features(pixels, output_hidden_states=True)
    return out.hidden_states[-2].permute(0, 2, 3, 1), out.pooler_output


def fuse(xvla: Any, tokens: Float[Tensor, "b i d"], ids: Int[Tensor, "b n"]) -> Float[Tensor, "b s d"]:
    """Z: image tokens and text through the encoder, everything attended, as lerobot's ``forward_vlm`` does."""
    merged = torch.cat([tokens, xvla.vlm.get_input_embeddings()(ids)], dim=1)  # (b i+n d)
    mask = torch.ones(merged.shape[:2], dtype=torch.long)
    out: Tensor = xvla.vlm.language_model.encoder(attention_mask=mask, inputs_embeds=merged)[0]
    return out


def action_loss(xvla: Any, z: Float[Tensor, "b s d"], batch: Batch) -> Float[Tensor, ""]:
    """X-VLA's flow objective on the action chunk, as ``XVLAModel.forward`` states it, where the expert acts."""
    b = len(z)
    t = (torch.rand(1) + torch.arange(b) / b) % (1 - 1e-5)
    noisy = torch.randn_like(batch.actions) * t.view(-1, 1, 1) + batch.actions * (1 - t).view(-1, 1, 1)
    predicted = xvla.transformer(
        domain_id=torch.zeros(b, dtype=torch.long),
        action_with_noise=noisy,
        t=t,
        proprio=batch.states,
        vlm_features=z,
        aux_visual_inputs=z[:, :0],
    )
    error = (predicted - batch.actions).square().mean((1, 2))
    return (error * batch.expert).sum() / batch.expert.sum().clamp(min=1)


@torch.inference_mode()
def evaluate(parts: Pretraining, sampler: Sampler, size: int = 32) -> dict[str, float]:
    """Held-out average precision per object on 7x7 cells (share >= 0.1) of Z under the instruction, and of phrases."""
    from ...metrics.curves import average_precision

    xvla, heads = parts
    xvla.eval()
    found: dict[str, list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]] = {}
    for k in range(len(sampler) // size):
        batch = sampler.batch(k, size, augment=False)
        _, tokens = encode_images(xvla, batch.pixels)
        cells = quarter(batch.shares).mean(-1)  # (b 49 o)
        logits = heads.fused(fuse(xvla, tokens, batch.instructions)[:, 1:50]).reshape(*cells.shape, FINE)
        for index in range(2, len(SEEN)):
            pair = (logits.amax(-1)[..., index].numpy(), (cells[..., index] >= 0.1).numpy())
            found.setdefault(SEEN[index], []).append(pair)
        for p, kind in enumerate(("phrase", "phrase of colour and state")):
            z = fuse(xvla, tokens, batch.phrases[:, p])
            wanted = quarter(batch.referents[:, p : p + 1])[:, :, 0].mean(-1)
            found.setdefault(kind, []).append((heads.phrase(z[:, 1:50]).amax(-1).numpy(), (wanted >= 0.1).numpy()))
    return {
        name: round(average_precision(*(np.concatenate(side) for side in zip(*pairs, strict=True))), 4)
        for name, pairs in found.items()
    }


def initialise(vlm: nn.Module) -> None:
    """Xavier for linear maps, Kaiming for convolutions: the default (0.02) learns slowly at this size."""
    for module in vlm.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


def export(vlm: nn.Module, path: Path) -> None:
    """The vision-language weights alone, in bf16 (buffers that are integers stay)."""
    kept = {}
    for name, value in vlm.state_dict().items():
        if name != "language_model.encoder.embed_tokens.weight":  # tied to `shared`
            kept[name] = (value.bfloat16() if value.is_floating_point() else value).contiguous().clone()
    save_file(kept, path)


def _bce(logits: Tensor, target: Tensor) -> Float[Tensor, ""]:
    return F.binary_cross_entropy_with_logits(logits, target)
