"""``tabletop_cubes``: the SIMULATED cube set, written by LeRobot's own writer, with its labels and its manifest."""

from typing import Any

import numpy as np
from jaxtyping import UInt8

from ...manifest import DatasetManifest
from .checkpoints import CAMERAS
from .episode import Episode, draw_episode
from .language import COLOURS, instruction
from .recording import ABSENT_EVERY, Recording, Subject, WorldConfig, list_splits, write_world
from .render import draw_backdrop, render
from .truth import label_rows

__all__ = ["NAME", "CubesConfig", "list_splits", "record_episode", "write_cubes"]

NAME = "tabletop_cubes"
CubesConfig = WorldConfig  # the cube set has no options of its own


def write_cubes(config: WorldConfig) -> DatasetManifest:
    """Generate the set; see :func:`~.recording.write_world`."""
    return write_world(Subject(NAME, record_episode), config)


def record_episode(config: WorldConfig, number: int) -> Recording:
    """Draw, act and render episode ``number``; the same (seed, number, sizes) give the same bits."""
    rng = np.random.default_rng([config.seed, number])
    colour = COLOURS[number % len(COLOURS)]
    present = number % ABSENT_EVERY != ABSENT_EVERY - 1
    episode = draw_episode(
        rng, frames=config.frames, height=config.height, width=config.width, colour=colour, present=present
    )
    frames: dict[str, UInt8[np.ndarray, "t h w 3"]] = {}
    labels: list[dict[str, Any]] = []
    for camera in CAMERAS:
        rgb, truth = _record_camera(episode, camera, number, rng)
        frames[camera] = rgb
        labels += truth
    return Recording(
        frames=frames,
        states=np.stack([m.state for m in episode.moments]).astype(np.float32),
        actions=np.stack([m.action for m in episode.moments]).astype(np.float32),
        task=instruction(colour),
        labels=labels,
    )


def _record_camera(
    episode: Episode, camera: str, number: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "t h w 3"], list[dict[str, Any]]]:
    backdrop = draw_backdrop(episode.scene, episode.scene.cameras[camera])
    frames, labels = [], []
    for t, moment in enumerate(episode.moments):
        view = render(episode.scene, backdrop, state=moment.state, cubes=moment.cubes, rng=rng)
        frames.append(view.rgb)
        where = {"episode_index": number, "frame_index": t, "camera": camera}
        labels += [where | row for row in label_rows(moment, view.objects)]
    return np.stack(frames), labels
