"""Random cloths for pretraining: frames with the share of every object, the corners, and what the expert does next."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from .checkpoints import CAMERAS, IMAGE_SIZE
from .cloth_episode import draw_cloth_episode
from .cloth_render import CLOTH_OBJECTS, render_cloth
from .cloth_truth import INSTRUCTIONS, TASK, find_corners
from .corner_targets import corner_peaks
from .pretext import FRAMES, GRID, HEIGHT, MOMENTS, WIDTH, Arrays, next_actions, object_shares, squash
from .render import draw_backdrop
from .samples import Scenes, relight, tokenizer_ids

SEED_OFFSET = 4_000_000_000
FINE = 28  # cells a side of the maps on which corners are peaks
SIGMA_PX = 6.0  # of the peaks, in pixels of the squashed frame
MOVED = 0.6  # share of the frames that are shifted and scaled
SHIFT, ZOOM = 0.15, 0.15  # at most: of half the frame, and of its size


def draw_cloth_rows(seed: int, number: int) -> Iterator[Arrays]:
    """The kept frames of one random episode of the cloth table, with what is true of them.

    ``image`` (3, 224, 224) uint8; ``shares`` (objects, 14, 14) uint8 in 1/255, the cloth last; ``corners`` (4, 2)
    float32 in pixels of the squashed frame; ``visible``, ``held`` (4,) bool; ``states`` (6,), ``actions`` (8, 6)
    float32; ``expert`` int8: 1 where the actions are purposeful.
    """
    rng = np.random.default_rng([SEED_OFFSET + seed, number])
    present = bool(rng.random() < 0.92)
    episode = draw_cloth_episode(rng, frames=FRAMES, height=HEIGHT, width=WIDTH, present=present)
    scene, times = episode.scene, np.sort(rng.choice(FRAMES, MOMENTS, replace=False))
    for name in CAMERAS:
        camera = scene.table.cameras[name]
        backdrop = draw_backdrop(scene.table, camera)
        for t in times:
            moment = episode.moments[t]
            view = render_cloth(scene, backdrop, state=moment.state, hold=moment.hold, rng=rng)
            found = find_corners(scene, moment, camera, view)
            nowhere = np.zeros(4, bool)
            yield {
                "image": squash(view.rgb),
                "shares": object_shares(view.objects, len(CLOTH_OBJECTS)),
                "corners": _squashed(found.xy if found else np.zeros((4, 2))),
                "visible": found.visible if found else nowhere,
                "held": found.held if found else nowhere,
                "states": moment.state.astype(np.float32),
                "actions": next_actions([m.action for m in episode.moments], int(t)),
                "expert": np.array(present, np.int8),
            }


class ClothBatch(NamedTuple):
    """Frames of cloths with one text each, and what is true of them.

    ``peaks`` are those of the visible corners, and of the held one. What is true does not depend on the text;
    ``expert`` is 1 where the actions are purposeful, follow from the frame, and the text asks for them.
    """

    pixels: Float[Tensor, "b 3 h w"]
    shares: Float[Tensor, "b o g g"]
    peaks: Float[Tensor, "b 2 f f"]
    instructions: Int[Tensor, "b n"]
    states: Float[Tensor, "b 6"]
    actions: Float[Tensor, "b t 6"]
    expert: Float[Tensor, " b"]


class ClothSampler:
    """Batches by step number alone, as :class:`~.samples.Sampler`'s."""

    def __init__(self, directory: Path, tokenizer: Any, *, seed: int) -> None:
        self.scenes, self.seed = Scenes(directory), seed
        self.ids = torch.stack([tokenizer_ids(tokenizer, text) for text in INSTRUCTIONS])

    def __len__(self) -> int:
        return len(self.scenes)

    def batch(self, step: int, size: int, *, augment: bool = True) -> ClothBatch:
        """The batch of one step; mirrored, re-lit, shifted and scaled at random when ``augment``."""
        rng = np.random.default_rng([self.seed, step, 1])
        rows = self.scenes.rows(rng, step, size, shuffle=augment)
        facts = {name: values[rows] for name, values in self.scenes.facts.items()}
        pictures = self.scenes.pixels(rows)
        text = rng.integers(len(self.ids) if augment else 1, size=size)
        given = rng.random((size, 1)) < (0.5 if augment else 1.0)
        if augment:
            pictures = relight(rng, pictures)
        tensor = torch.from_numpy
        pixels, corners = tensor(pictures.astype(np.float32)), tensor(facts["corners"])
        shares = tensor(facts["shares"].astype(np.float32) / 255)
        still = torch.ones(size, dtype=torch.bool)
        if augment:
            matrix = _moves(rng, size)
            pixels, shares, corners = _move(pixels, shares, corners, matrix)
            still = (matrix == torch.eye(2, 3)).all(dim=(1, 2))
        seen, held = tensor(facts["visible"]), tensor(facts["held"])
        return ClothBatch(
            pixels=pixels,
            shares=shares,
            peaks=torch.cat([_peaks(corners, seen), _peaks(corners, seen & held)], dim=1),
            instructions=self.ids[tensor(text)],
            states=tensor(facts["states"] * given).float(),
            actions=tensor(facts["actions"]),
            expert=tensor(facts["expert"]).float() * still * tensor(text == INSTRUCTIONS.index(TASK)),
        )


def _squashed(xy: Float[np.ndarray, "4 2"]) -> Float[np.ndarray, "4 2"]:
    scaled: Float[np.ndarray, "4 2"] = (xy * [IMAGE_SIZE / WIDTH, IMAGE_SIZE / HEIGHT]).astype(np.float32)
    return scaled


def _peaks(corners: Float[Tensor, "b 4 2"], on: Tensor) -> Float[Tensor, "b 1 f f"]:
    """Gaussian peaks on the fine grid, whose cells have their centres at whole numbers."""
    cell = IMAGE_SIZE / FINE
    return corner_peaks(corners / cell - 0.5, on, (FINE, FINE), sigma_px=SIGMA_PX / cell)


def _moves(rng: np.random.Generator, size: int) -> Float[Tensor, "b 2 3"]:
    """Affine maps from the place in the new frame to the place in the old, both in -1..1: mirror, scale and shift."""
    moved = (rng.random(size) < MOVED)[:, None]
    zoom = np.where(moved[:, 0], 1 + rng.uniform(-ZOOM, ZOOM, size), 1)
    mirror = np.where(rng.random(size) < 0.5, -1, 1)
    matrix = np.zeros((size, 2, 3), np.float32)
    matrix[:, 0, 0], matrix[:, 1, 1] = zoom * mirror, zoom
    matrix[:, :, 2] = moved * rng.uniform(-SHIFT, SHIFT, (size, 2))
    return torch.from_numpy(matrix)


def _move(
    pixels: Float[Tensor, "b 3 h w"],
    shares: Float[Tensor, "b o g g"],
    corners: Float[Tensor, "b 4 2"],
    matrix: Float[Tensor, "b 2 3"],
) -> tuple[Tensor, Tensor, Tensor]:
    """Frames, shares and corners after a move; beside the frame the border goes on, and nothing is there."""
    b = len(matrix)
    fine, coarse = (F.affine_grid(matrix, [b, 1, n, n], align_corners=False) for n in (pixels.shape[-1], GRID))
    half = IMAGE_SIZE / 2
    old = corners / half - 1
    new = (old - matrix[:, None, :, 2]) / torch.stack([matrix[:, 0, 0], matrix[:, 1, 1]], dim=1)[:, None]
    return (
        F.grid_sample(pixels, fine, padding_mode="border", align_corners=False),
        F.grid_sample(shares, coarse, padding_mode="zeros", align_corners=False),
        (new + 1) * half,
    )
