"""An expert's cloth task: it pinches a corner of the cloth, carries it to the box and lets go, frame by frame.

The grasp succeeds by construction: the corner follows the jaws from when they close. The rest of the cloth is pulled
behind them like a trailer: its middle stays as far from the jaws as the taut cloth allows.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from . import arm
from .cloth import Cloth, Hold, taut_reach
from .cloth_scene import ClothScene, draw_cloth_scene
from .episode import HOLDING, LAG, SHARES, Phase, draw_home, interpolate, search, split_frames

Keys = list[tuple[Phase, list[tuple[Float[np.ndarray, "5"], float]]]]

PINCH_Z, RELEASE_Z = 0.015, 0.062  # metres: height of the jaws' middle when they close, and when they open
CLOSED = 0.003  # metres between the jaws with cloth in them
BELOW_JAWS = 0.004  # metres: the cloth's ridge hangs this much under the jaws' middle
DROPPED = 0.012  # metres: height at which the released corner rests in the box
MATERIAL_SPEED = 0.55  # share of the fall that happens in one frame


@dataclass(frozen=True)
class ClothMoment:
    """One frame: the arm's state and command, the phase, where the picked corner is, whether it is held or was let
    go. ``hold`` is None where there is no cloth."""

    state: Float[np.ndarray, "6"]
    action: Float[np.ndarray, "6"]
    phase: Phase
    hold: Hold | None
    held: bool
    released: bool


@dataclass(frozen=True)
class ClothEpisode:
    """A scene and its moments."""

    scene: ClothScene
    moments: tuple[ClothMoment, ...]


def draw_cloth_episode(
    rng: np.random.Generator, *, frames: int, height: int, width: int, present: bool = True
) -> ClothEpisode:
    """A random scene and the expert in it; without a cloth, the arm looks round for it instead."""
    while True:
        scene = draw_cloth_scene(rng, height=height, width=width, present=present)
        try:
            if scene.lying is None or scene.cloth is None:
                commands, phases = search(rng, scene.table, frames)
            else:
                commands, phases = _carry(rng, scene, scene.cloth, scene.lying, frames)
        except ValueError:  # the arm does not reach this one
            continue
        return ClothEpisode(scene, _play(scene, commands, phases))


def _carry(
    rng: np.random.Generator, scene: ClothScene, cloth: Cloth, lying: Hold, frames: int
) -> tuple[Float[np.ndarray, "f 6"], list[Phase]]:
    high = rng.uniform(0.078, 0.095)
    landing = _pull(cloth, lying, _straight(lying, scene), high - BELOW_JAWS)
    home = draw_home(rng)
    above = arm.reach(np.array([lying.x, lying.y, high]), jaw_yaw=lying.towards)
    down = arm.reach(np.array([lying.x, lying.y, PINCH_Z]), jaw_yaw=lying.towards)
    across = arm.reach(np.array([scene.box.x, scene.box.y, high]), jaw_yaw=landing.towards)
    inside = arm.reach(np.array([scene.box.x, scene.box.y, RELEASE_Z]), jaw_yaw=landing.towards)
    opened = float(rng.uniform(0.6, 1.0)) * arm.OPEN
    keys: Keys = [
        ("approach", [(home, opened), (above, opened), (down, opened)]),
        ("grasp", [(down, opened), (down, CLOSED), (down, CLOSED)]),
        ("lift", [(down, CLOSED), (above, CLOSED)]),
        ("carry", [(above, CLOSED), (across, CLOSED)]),
        ("place", [(across, CLOSED), (inside, CLOSED)]),
        ("retreat", [(inside, opened), (across, opened), (home, opened)]),
    ]
    counts = split_frames(frames, np.array(list(SHARES.values())) * rng.uniform(0.85, 1.15, len(SHARES)))
    commands = [interpolate(points, n) for (_, points), n in zip(keys, counts, strict=True)]
    return np.concatenate(commands), [phase for (phase, _), n in zip(keys, counts, strict=True) for _ in range(n)]


def _straight(lying: Hold, scene: ClothScene) -> Float[np.ndarray, "s 2"]:
    """The way of the jaws over the table, from the corner to the box."""
    share = np.linspace(0, 1, 24)[:, None]
    return np.array([lying.x, lying.y]) * (1 - share) + np.array([scene.box.x, scene.box.y]) * share


def _pull(cloth: Cloth, hold: Hold, way: Float[np.ndarray, "s 2"], height: float) -> Hold:
    """The hold after the jaws went along ``way`` at one height."""
    for place in way:
        hold = trail(cloth, hold, place, height)
    return hold


def trail(cloth: Cloth, hold: Hold, place: Float[np.ndarray, "2"], height: float) -> Hold:
    """The hold once the jaws are at ``place`` and ``height``: the cloth's middle is pulled along, taut."""
    way = taut_reach(cloth, hold.corner, hold.height)
    middle = np.array([hold.x + way * np.cos(hold.towards), hold.y + way * np.sin(hold.towards)])
    behind = middle - place
    return Hold(hold.corner, float(place[0]), float(place[1]), height, float(np.arctan2(behind[1], behind[0])))


def _play(scene: ClothScene, commands: Float[np.ndarray, "f 6"], phases: list[Phase]) -> tuple[ClothMoment, ...]:
    hold, state, released, moments = scene.lying, commands[0].copy(), False, []
    for command, phase in zip(commands, phases, strict=True):
        state = state + LAG * (command - state)
        held = hold is not None and phase in HOLDING
        if hold is not None and scene.cloth is not None:
            hand = arm.hand_pose(state[:5]).translation
            if held:
                hold = trail(scene.cloth, hold, hand[:2], float(hand[2]) - BELOW_JAWS)
            elif phase == "grasp":  # the jaws push up a ridge as they close
                shut = 1 - np.clip((state[5] - CLOSED) / (arm.OPEN / 2), 0, 1)
                hold = hold._replace(height=float(shut * max(hand[2] - BELOW_JAWS, 0.0)))
            elif phase == "retreat":
                fallen = hold.height + MATERIAL_SPEED * (DROPPED - hold.height)
                hold, released = hold._replace(height=float(fallen)), True
        moments.append(ClothMoment(state.copy(), command.copy(), phase, hold, held, released))
    return tuple(moments)
