"""Training a narrow CeDiRNet on random cloth scenes: the detector's maps, then the localiser that reads them.

The networks are given, not imported: what is trained here are the modules of the extraction itself. The detector sees
crops of the views, where corners are: a third of the work of whole images. The localiser learns on maps of scenes that
the detector never saw, and is scaled at the end so that the fixed threshold of the decoding is the best one on some of
them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from ...metrics.points import PointScores, score_points
from .corner_scenes import Views
from .corner_targets import corner_loss, corner_peaks, corner_targets

WITHIN_PX = 10.0  # a found corner is right within this distance
CROP, BATCH = 128, 8
SIGMA_PX = 2.5  # of the localiser's peaks
PEAK_WEIGHT = 30.0  # of a pixel at a peak against one far from any

LEAST = 0.10  # response of the localiser below which no threshold is tried

Found = list[Float[np.ndarray, "p 3"]]
Decode = Callable[[Float[Tensor, "b 6 h w"], float], Found]


@dataclass(frozen=True)
class CornerConfig:
    """How long each part is trained; batches hold 8 crops of 128 x 128, then 8 maps.

    Args:
        steps: of the detector.
        localiser_steps: of the localiser.
        lr: peak learning rate of the detector; its fully connected layers take ten times that.
        seed: of weights, batches and augmentation.
        progress: show a bar on stderr.
    """

    steps: int = 750
    localiser_steps: int = 160
    lr: float = 3e-3
    seed: int = 0
    progress: bool = True


class Batch(NamedTuple):
    """Images (b, 3, h, w) in 0..1 with their corners (b, 4, 2), inward points and visibility."""

    images: Float[Tensor, "b 3 h w"]
    corners: Float[Tensor, "b 4 2"]
    inward: Float[Tensor, "b 4 2"]
    visible: Tensor


def train_detector(detector: nn.Module, views: Views, config: CornerConfig) -> list[float]:
    """Train in place, from weights drawn anew and without dropout; returns the loss of every step."""
    initialise(detector, config.seed)
    _lay_out(detector.eval(), torch.channels_last)
    optimisers, trace = _optimisers(detector, config.lr), []
    others = [value for group in optimisers[1].param_groups for value in group["params"]]
    for step in tqdm(range(config.steps), desc="detector", unit="step", disable=not config.progress):
        batch = sample(views, np.random.default_rng([config.seed, step]), size=BATCH)
        targets = corner_targets(batch.corners, batch.inward, batch.visible, _size(batch.images))
        loss = sum(corner_loss(detector(batch.images), targets).values(), torch.zeros(()))
        loss.backward()
        nn.utils.clip_grad_norm_(others, 1.0)
        for optimiser in optimisers:
            optimiser.param_groups[0]["lr"] = optimiser.defaults["lr"] * _schedule(step, config.steps)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        trace.append(loss.item())
    _lay_out(detector, torch.contiguous_format)
    return trace


def initialise(detector: nn.Module, seed: int) -> None:
    """Kaiming, Xavier and block scales of 1: from ConvNeXt's own start (0.02, 1e-6) little is learnt in time."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, value in detector.named_parameters():
            if name.endswith("gamma"):
                nn.init.ones_(value)
            elif value.dim() == 4:
                nn.init.kaiming_normal_(value, nonlinearity="relu")
            elif value.dim() == 2:
                nn.init.xavier_uniform_(value)


def _optimisers(detector: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the fully connected layers, which learn in two thirds of the steps with it, and AdamW for the rest."""
    matrices = [value for value in detector.parameters() if value.dim() == 2]
    others = [value for value in detector.parameters() if value.dim() != 2]
    return [
        torch.optim.Muon(matrices, lr=10 * lr, weight_decay=0.01),
        torch.optim.AdamW(others, lr=lr, weight_decay=0.02, betas=(0.9, 0.98)),
    ]


def train_localiser(
    localiser: nn.Module, maps: Float[Tensor, "n 6 h w"], views: Views, config: CornerConfig
) -> list[float]:
    """Train in place on the detector's maps of ``views``; returns the loss of every step."""
    localiser.train()
    parameters = [value for value in localiser.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=4e-3, weight_decay=1e-4)
    corners, visible = torch.from_numpy(views.corners), torch.from_numpy(views.visible)
    trace = []
    for step in tqdm(range(config.localiser_steps), desc="localiser", unit="step", disable=not config.progress):
        rng = np.random.default_rng([config.seed, 1, step])
        rows = torch.from_numpy(rng.choice(len(maps), min(8, len(maps)), replace=False))
        optimiser.param_groups[0]["lr"] = 4e-3 * _schedule(step, config.localiser_steps)
        wanted = corner_peaks(corners[rows], visible[rows], _size(maps), sigma_px=SIGMA_PX).float()
        answer = localiser(maps[rows].float())
        loss = ((answer - wanted).square() * (1 + PEAK_WEIGHT * wanted)).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        trace.append(loss.item())
    localiser.eval()
    return trace


@torch.inference_mode()
def predict(detector: nn.Module, views: Views, batch_size: int = 8) -> Float[Tensor, "n 6 h w"]:
    """The detector's maps of every view, in half precision."""
    parts = torch.split(torch.from_numpy(views.images), batch_size)
    return torch.cat([detector(part.float() / 255).half() for part in parts])


def find_corners(decode: Decode, maps: Float[Tensor, "n 6 h w"], least: float) -> list[Float[np.ndarray, "p 3"]]:
    """(x, y, score) of the corners decoded from every image's maps, best first, scores above ``least``."""
    return [points for part in torch.split(maps, 8) for points in decode(part.float(), least)]


def score_corners(found: Found, views: Views, least: float = -math.inf) -> PointScores:
    """Hits among the found corners with a score above ``least``, against the visible ones, at :data:`WITHIN_PX`."""
    kept = [points[points[:, 2] > least, :2] for points in found]
    true = [corners[seen] for corners, seen in zip(views.corners, views.visible, strict=True)]
    return score_points(kept, true, within_px=WITHIN_PX)


def best_threshold(found: Found, views: Views) -> float:
    """The threshold on the scores with the highest F1, of 0.10, 0.14, … 0.90."""
    grid = [round(LEAST + 0.04 * k, 2) for k in range(21)]
    return max(grid, key=lambda least: score_corners(found, views, least).f1)


def sample(views: Views, rng: np.random.Generator, *, size: int) -> Batch:
    """``size`` crops of random views, each with a visible corner in it, mirrored, turned and re-lit at random."""
    images = np.empty((size, views.images.shape[1], CROP, CROP), np.float32)
    rows, points = rng.integers(len(views), size=size), np.empty((2, size, 4, 2), np.float32)
    for place, row in enumerate(rows):
        left, top = _place(views, row, rng)
        image = views.images[row, :, top : top + CROP, left : left + CROP].astype(np.float32) / 255
        marks = np.stack([views.corners[row], views.inward[row]]) - [left, top]  # (2, 4, 2)
        if rng.random() < 0.5:
            image, marks[..., 0] = image[:, :, ::-1], CROP - 1 - marks[..., 0]
        if rng.random() < 0.5:
            image, marks[..., 1] = image[:, ::-1], CROP - 1 - marks[..., 1]
        if rng.random() < 0.5:
            image, marks = image.transpose(0, 2, 1), marks[..., ::-1]
        images[place] = np.clip(image * rng.uniform(0.75, 1.3) + rng.uniform(-0.1, 0.1), 0, 1)
        points[:, place] = marks
    pixels = torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
    corners, inward = map(torch.from_numpy, points)
    return Batch(pixels, corners, inward, torch.from_numpy(views.visible[rows]))


def _place(views: Views, row: int, rng: np.random.Generator) -> tuple[int, int]:
    """Left and top of a crop that holds a visible corner, or any if none is visible."""
    seen, limit = np.flatnonzero(views.visible[row]), np.array(views.images.shape[:1:-1]) - CROP
    held = views.corners[row, rng.choice(seen) if len(seen) else rng.integers(4)]
    left, top = np.clip(held - CROP / 2 + rng.uniform(-0.4, 0.4, 2) * CROP, 0, limit).astype(int)
    return int(left), int(top)


def _lay_out(module: nn.Module, form: torch.memory_format) -> None:
    """The weights of its convolutions in another order in memory: the values stay."""
    for value in module.parameters():
        if value.dim() == 4:
            value.data = value.data.contiguous(memory_format=form)


def _size(maps: Tensor) -> tuple[int, int]:
    return int(maps.shape[-2]), int(maps.shape[-1])


def _schedule(step: int, steps: int) -> float:
    """Warm-up over the first twentieth, then a cosine to nearly zero."""
    return min(1.0, (step + 1) / max(0.05 * steps, 1)) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
