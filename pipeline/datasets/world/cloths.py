"""``tabletop_cloth``: the SIMULATED cloth set, written by LeRobot's own writer, with labels, corners and manifest.

``corners.parquet`` beside the labels holds, for every frame, camera and corner of the cloth, its exact place in pixels
(also where something hides it), a point behind it on the cloth's diagonal, whether it is in view, and whether the
gripper holds it. It lies outside the data set: a policy must not see it.
"""

from typing import Any

import numpy as np
from jaxtyping import UInt8

from ...manifest import DatasetManifest
from ..corners import CORNER_SCHEMA, CORNERS
from .checkpoints import CAMERAS
from .cloth_episode import ClothEpisode, draw_cloth_episode
from .cloth_render import render_cloth
from .cloth_truth import TASK, cloth_label_rows, corner_rows, find_corners
from .recording import ABSENT_EVERY, Recording, Row, Subject, WorldConfig, write_world
from .render import draw_backdrop

__all__ = ["CORNERS", "NAME", "record_cloth_episode", "write_cloths"]

NAME = "tabletop_cloth"
SEED_OFFSET = 2_000_000_000  # no episode of the cube set shares its numbers


def write_cloths(config: WorldConfig) -> DatasetManifest:
    """Generate the set; see :func:`~.recording.write_world`."""
    return write_world(Subject(NAME, record_cloth_episode, (CORNERS, CORNER_SCHEMA)), config)


def record_cloth_episode(config: WorldConfig, number: int) -> Recording:
    """Draw, act and render episode ``number``; the same (seed, number, sizes) give the same bits."""
    rng = np.random.default_rng([SEED_OFFSET + config.seed, number])
    present = number % ABSENT_EVERY != ABSENT_EVERY - 1
    episode = draw_cloth_episode(rng, frames=config.frames, height=config.height, width=config.width, present=present)
    frames: dict[str, UInt8[np.ndarray, "t h w 3"]] = {}
    labels: list[Row] = []
    corners: list[Row] = []
    for camera in CAMERAS:
        frames[camera], told, found = _record_camera(episode, camera, number, rng)
        labels += told
        corners += found
    return Recording(
        frames=frames,
        states=np.stack([m.state for m in episode.moments]).astype(np.float32),
        actions=np.stack([m.action for m in episode.moments]).astype(np.float32),
        task=TASK,
        labels=labels,
        facts=corners,
    )


def _record_camera(
    episode: ClothEpisode, name: str, number: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "t h w 3"], list[Row], list[Row]]:
    scene, camera = episode.scene, episode.scene.table.cameras[name]
    backdrop = draw_backdrop(scene.table, camera)
    frames, labels, corners = [], [], []
    for t, moment in enumerate(episode.moments):
        view = render_cloth(scene, backdrop, state=moment.state, hold=moment.hold, rng=rng)
        found = find_corners(scene, moment, camera, view)
        where: dict[str, Any] = {"episode_index": number, "frame_index": t, "camera": name}
        frames.append(view.rgb)
        labels += [where | row for row in cloth_label_rows(moment, view)]
        corners += [where | row for row in corner_rows(found)] if found else []
    return np.stack(frames), labels, corners
