"""What the features must hold of a cloth: which cells it covers, and where in a cell a corner lies."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .checkpoints import TOWER_WIDTH, WIDTH
from .cloth_pretext import FINE, ClothBatch, ClothSampler
from .cloth_render import CLOTH_OBJECTS
from .pretext import GRID
from .samples import TOKEN_SIDE, subcells
from .xvla_passes import action_loss, bce, encode_images, fuse

PEAKS = 2  # maps: visible corners, the held corner
IN_TOWER, IN_TOKEN = (FINE // GRID) ** 2, (FINE // TOKEN_SIDE) ** 2  # parts of a cell of R, of a token
SHARES = (GRID // TOKEN_SIDE) ** 2  # of a token
RARE = -4.0  # logit of a peak before anything is learned
AT_PEAK = 0.6  # a part counts as a corner's from this height of the peak on: within 6 px of the squashed frame


class ClothHeads(nn.Module):
    """Linear readouts of shares and peaks from R, the projected tokens and Z; thrown away afterwards."""

    def __init__(self) -> None:
        super().__init__()
        objects = len(CLOTH_OBJECTS)
        self.tower = nn.LayerNorm(TOWER_WIDTH)
        self.tower_shares, self.tower_peaks = (nn.Linear(TOWER_WIDTH, n) for n in (objects, PEAKS * IN_TOWER))
        self.projected_shares, self.fused_shares = (nn.Linear(WIDTH, objects * SHARES) for _ in range(2))
        self.projected_peaks, self.fused_peaks = (nn.Linear(WIDTH, PEAKS * IN_TOKEN) for _ in range(2))
        for readout in (self.tower_peaks, self.projected_peaks, self.fused_peaks):
            nn.init.constant_(readout.bias, RARE)


def cloth_losses(xvla: Any, heads: ClothHeads, batch: ClothBatch) -> dict[str, Tensor]:
    """The terms of the cloth table: shares and peaks on R, projected tokens and Z; X-VLA's actions."""
    r, tokens = encode_images(xvla, batch.pixels)  # (b 14 14 c), (b 50 d)
    z = fuse(xvla, tokens, batch.instructions)
    shares, peaks = subcells(batch.shares), subcells(batch.peaks)
    tower_shares, tower_peaks = subcells(batch.shares, GRID), subcells(batch.peaks, GRID)
    r, image, seen = heads.tower(r.flatten(1, 2)), tokens[:, 1:50], z[:, 1:50]
    return {
        "cloth_tower": 2 * bce(heads.tower_shares(r).reshape(tower_shares.shape), tower_shares)
        + 16 * bce(heads.tower_peaks(r).reshape(tower_peaks.shape), tower_peaks),
        "cloth_image": 2 * bce(heads.projected_shares(image).reshape(shares.shape), shares)
        + 16 * bce(heads.projected_peaks(image).reshape(peaks.shape), peaks),
        "cloth_fused": 2 * bce(heads.fused_shares(seen).reshape(shares.shape), shares)
        + 24 * bce(heads.fused_peaks(seen).reshape(peaks.shape), peaks),
        "cloth_action": 0.5 * action_loss(xvla, z, states=batch.states, actions=batch.actions, expert=batch.expert),
    }


@torch.inference_mode()
def evaluate_cloths(xvla: Any, heads: ClothHeads, sampler: ClothSampler, size: int = 32) -> dict[str, float]:
    """Held-out average precision under the task's instruction, read linearly from Z.

    ``cloth``: 7x7 cells with a share of at least 0.1; ``cloth corner``, ``held corner``: parts of 8x8 px (squashed
    frame) whose centre is within 6 px of one in view.
    """
    from ...metrics.curves import average_precision

    xvla.eval()
    found: dict[str, list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]] = {}
    size = min(size, len(sampler))
    for k in range(len(sampler) // size):
        batch = sampler.batch(k, size, augment=False)
        seen = fuse(xvla, encode_images(xvla, batch.pixels)[1], batch.instructions)[:, 1:50]
        shares, peaks = subcells(batch.shares), subcells(batch.peaks)
        covered = heads.fused_shares(seen).reshape(shares.shape)[:, :, -1].amax(-1)
        marked = heads.fused_peaks(seen).reshape(peaks.shape)
        pairs = {
            "cloth": (covered, shares[:, :, -1].mean(-1) >= 0.1),
            "cloth corner": (marked[:, :, 0], peaks[:, :, 0] >= AT_PEAK),
            "held corner": (marked[:, :, 1], peaks[:, :, 1] >= AT_PEAK),
        }
        for name, (logits, truth) in pairs.items():
            found.setdefault(name, []).append((logits.numpy(), truth.numpy()))
    return {
        name: round(average_precision(*(np.concatenate(side) for side in zip(*pairs, strict=True))), 4)
        for name, pairs in found.items()
    }
