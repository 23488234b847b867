"""Training a narrow CeDiRNet on random cloth scenes: the detector's maps, then the localiser that reads them.

The networks are given, not imported: what is trained here are the modules of the extraction itself. The detector sees
images of half the size first, which is where most is learnt for the time, and whole ones last. The localiser learns on
maps of scenes that the detector never saw, and is scaled at the end so that the fixed threshold of the decoding is the
best one on some of them.
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
SIGMA_PX = 2.5  # of the localiser's peaks
PEAK_WEIGHT = 30.0  # of a pixel at a peak against one far from any

LEAST = 0.10  # response of the localiser below which no threshold is tried

Found = list[Float[np.ndarray, "p 3"]]
Decode = Callable[[Float[Tensor, "b 6 h w"], float], Found]


@dataclass(frozen=True)
class CornerConfig:
    """How long each part is trained; batches hold 8 images of half the size, 3 whole images, 8 maps.

    Args:
        half_steps: of the detector, on images of 128 x 96.
        whole_steps: of the detector, on images of 256 x 192.
        localiser_steps: of the localiser.
        lr: peak learning rate of the detector.
        seed: of weights, batches and augmentation.
        progress: show a bar on stderr.
    """

    half_steps: int = 420
    whole_steps: int = 160
    localiser_steps: int = 140
    lr: float = 1.5e-3
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
    half, total = halve(views), config.half_steps + config.whole_steps
    optimiser = torch.optim.AdamW(detector.parameters(), lr=config.lr, weight_decay=0.02)
    trace = []
    for step in tqdm(range(total), desc="detector", unit="step", disable=not config.progress):
        rng = np.random.default_rng([config.seed, step])
        batch = sample(half, rng, size=8) if step < config.half_steps else sample(views, rng, size=3)
        optimiser.param_groups[0]["lr"] = config.lr * _schedule(step, total)
        targets = corner_targets(batch.corners, batch.inward, batch.visible, _size(batch.images))
        loss = sum(corner_loss(detector(batch.images), targets).values(), torch.zeros(()))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(detector.parameters(), 1.0)
        optimiser.step()
        trace.append(loss.item())
    _lay_out(detector, torch.contiguous_format)
    return trace


def initialise(detector: nn.Module, seed: int) -> None:
    """Kaiming, Xavier and block scales of a half: from ConvNeXt's own start (0.02, 1e-6) little is learnt in time."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, value in detector.named_parameters():
            if name.endswith("gamma"):
                nn.init.constant_(value, 0.5)
            elif value.dim() == 4:
                nn.init.kaiming_normal_(value, nonlinearity="relu")
            elif value.dim() == 2:
                nn.init.xavier_uniform_(value)


def halve(views: Views) -> Views:
    """The same views at half the size: means of 2 x 2 pixels."""
    n, c, h, w = views.images.shape
    images = views.images.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5), dtype=np.float32).round().astype(np.uint8)
    return Views(images, (views.corners + 0.5) / 2 - 0.5, (views.inward + 0.5) / 2 - 0.5, views.visible)


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
    """``size`` random views, mirrored and re-lit at random."""
    rows = rng.integers(len(views), size=size)
    mirrored = rng.random(size) < 0.5
    gain, lift = rng.uniform(0.75, 1.3, (size, 1, 1, 1)), rng.uniform(-0.1, 0.1, (size, 1, 1, 1))
    images = np.clip(views.images[rows].astype(np.float32) / 255 * gain + lift, 0, 1).astype(np.float32)
    images[mirrored] = images[mirrored][..., ::-1]
    points = np.stack([views.corners[rows], views.inward[rows]])  # (2, b, 4, 2)
    points[:, mirrored, :, 0] = images.shape[-1] - 1 - points[:, mirrored, :, 0]
    pixels = torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
    corners, inward = map(torch.from_numpy, points)
    return Batch(pixels, corners, inward, torch.from_numpy(views.visible[rows]))


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
