"""Views of random cloth scenes with their corners: what a corner detector learns from, and is measured on.

Scenes come from seeds of their own (:data:`SEED_OFFSET`), never from those of a data set. A cloth lies in all of them.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from ...processes import process_pool
from .checkpoints import CAMERAS
from .cloth_episode import ClothEpisode, draw_cloth_episode
from .cloth_render import render_cloth
from .cloth_truth import find_corners
from .render import draw_backdrop

SEED_OFFSET = 3_000_000_000
HEIGHT, WIDTH = 192, 256
FRAMES = 16  # of the episode that a view is taken from
CHUNK = 8  # scenes that one process draws at a time


@dataclass(frozen=True, eq=False)
class Views:
    """Images with the four corners of each, in pixel indices: (0, 0) is the centre of the first pixel.

    Args:
        images: (n, 3, 192, 256), RGB.
        corners: (n, 4, 2) as (x, y).
        inward: (n, 4, 2), a point of the cloth's diagonal behind each corner.
        visible: (n, 4), whether the image shows the corner.
    """

    images: UInt8[np.ndarray, "n 3 h w"]
    corners: Float[np.ndarray, "n 4 2"]
    inward: Float[np.ndarray, "n 4 2"]
    visible: Bool[np.ndarray, "n 4"]

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: slice | Int[np.ndarray, " m"]) -> "Views":
        """Some of the views."""
        return Views(self.images[rows], self.corners[rows], self.inward[rows], self.visible[rows])


def draw_views(scenes: int, *, seed: int, workers: int = 0) -> Views:
    """Two views a scene, one from each camera, each at a moment of its own; the same arguments give the same bits."""
    chunks = [(seed, range(start, min(start + CHUNK, scenes))) for start in range(0, scenes, CHUNK)]
    if workers:
        with process_pool(workers) as pool:
            drawn = list(pool.map(_draw_chunk, chunks))
    else:
        drawn = [_draw_chunk(chunk) for chunk in chunks]
    return _join(drawn)


def _draw_chunk(chunk: tuple[int, range]) -> Views:
    seed, numbers = chunk
    return _join([view for number in numbers for view in _draw_scene(seed, number)])


def _draw_scene(seed: int, number: int) -> list[Views]:
    rng = np.random.default_rng([SEED_OFFSET + seed, number])
    episode = draw_cloth_episode(rng, frames=FRAMES, height=HEIGHT, width=WIDTH)
    return [_draw_view(episode, name, rng) for name in CAMERAS]


def _draw_view(episode: ClothEpisode, name: str, rng: np.random.Generator) -> Views:
    scene, moment = episode.scene, episode.moments[rng.integers(FRAMES)]
    camera = scene.table.cameras[name]
    view = render_cloth(scene, draw_backdrop(scene.table, camera), state=moment.state, hold=moment.hold, rng=rng)
    found = find_corners(scene, moment, camera, view)
    if found is None:
        raise ValueError("there is no cloth in this scene")
    image = np.ascontiguousarray(view.rgb.transpose(2, 0, 1))
    return Views(image[None], found.xy[None] - 0.5, found.inward[None] - 0.5, found.visible[None])


def _join(parts: list[Views]) -> Views:
    return Views(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.corners for part in parts]),
        np.concatenate([part.inward for part in parts]),
        np.concatenate([part.visible for part in parts]),
    )
