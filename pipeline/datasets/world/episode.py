"""An expert's pick-and-place: joint commands, the arm's lagging state, and what is held, frame by frame.

The grasp succeeds by construction: the cube is attached to the gripper when it closes, wherever exactly it is.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from . import arm
from .render import resting_cubes
from .scene import BOX_WALL, REACH_X, REACH_Y, Scene, draw_scene
from .solids import Pose, turn

Phase = Literal["approach", "grasp", "lift", "carry", "place", "retreat", "search"]
SHARES: dict[Phase, float] = {
    "approach": 0.30, "grasp": 0.125, "lift": 0.125, "carry": 0.20, "place": 0.10, "retreat": 0.15,
}  # fmt: skip
LAG = 0.65  # share of the commanded change that the servos reach in one frame
HOLDING: frozenset[Phase] = frozenset({"lift", "carry", "place"})


@dataclass(frozen=True)
class Moment:
    """One frame: the arm's state and command, the phase, which cube is held or was just released, where cubes are."""

    state: Float[np.ndarray, "6"]
    action: Float[np.ndarray, "6"]
    phase: Phase
    held: str | None
    released: str | None
    cubes: dict[str, Pose]


@dataclass(frozen=True)
class Episode:
    """A scene, the colour that the instruction names, and its moments."""

    scene: Scene
    colour: str
    moments: tuple[Moment, ...]


def draw_episode(
    rng: np.random.Generator, *, frames: int, height: int, width: int, colour: str, present: bool = True
) -> Episode:
    """A random scene and the expert in it; where the named cube is absent, the arm looks round for it instead."""
    scene = draw_scene(rng, height=height, width=width, target=colour, target_present=present)
    commands, phases = _pick_and_place(rng, scene, colour, frames) if present else search(rng, scene, frames)
    return Episode(scene, colour, _play(scene, colour, commands, phases))


def _pick_and_place(
    rng: np.random.Generator, scene: Scene, colour: str, frames: int
) -> tuple[Float[np.ndarray, "f 6"], list[Phase]]:
    cube = scene.cube(colour)
    if cube is None:
        raise ValueError(f"no {colour} cube to pick")
    low, high = cube.edge / 2, rng.uniform(0.085, 0.115)
    over_cube, over_box = np.array([cube.x, cube.y, high]), np.array([scene.box_x, scene.box_y, high])
    at_cube, at_box = np.array([cube.x, cube.y, low]), np.array([scene.box_x, scene.box_y, 0.045])
    yaw, home = cube.yaw, draw_home(rng)
    above = arm.reach(over_cube, jaw_yaw=yaw)
    down = arm.reach(at_cube, jaw_yaw=yaw)
    across = arm.reach(over_box, jaw_yaw=scene.box_yaw)
    inside = arm.reach(at_box, jaw_yaw=scene.box_yaw)
    closed = cube.edge - 0.002
    keys: list[tuple[Phase, list[tuple[Float[np.ndarray, "5"], float]]]] = [
        ("approach", [(home, arm.OPEN), (above, arm.OPEN), (down, arm.OPEN)]),
        ("grasp", [(down, arm.OPEN), (down, closed), (down, closed)]),
        ("lift", [(down, closed), (above, closed)]),
        ("carry", [(above, closed), (across, closed)]),
        ("place", [(across, closed), (inside, closed)]),
        ("retreat", [(inside, arm.OPEN), (across, arm.OPEN), (home, arm.OPEN)]),
    ]
    weights = np.array(list(SHARES.values())) * rng.uniform(0.85, 1.15, len(SHARES))
    counts = split_frames(frames, weights)
    commands = [interpolate(points, n) for (_, points), n in zip(keys, counts, strict=True)]
    phases = [phase for (phase, _), n in zip(keys, counts, strict=True) for _ in range(n)]
    return np.concatenate(commands), phases


def search(rng: np.random.Generator, scene: Scene, frames: int) -> tuple[Float[np.ndarray, "f 6"], list[Phase]]:
    """Hover over a few places with open jaws, touch nothing, go home."""
    home = draw_home(rng)
    stops = [(home, arm.OPEN)]
    for _ in range(3):
        place = np.array([rng.uniform(*REACH_X), rng.uniform(*REACH_Y), rng.uniform(0.09, 0.13)])
        stops.append((arm.reach(place, jaw_yaw=scene.box_yaw), arm.OPEN))
    return interpolate([*stops, stops[0]], frames), ["search"] * frames


def draw_home(rng: np.random.Generator) -> Float[np.ndarray, "5"]:
    """The arm's resting joints, a little different each time."""
    home: Float[np.ndarray, "5"] = arm.HOME + rng.uniform(-0.12, 0.12, 5)
    return home


def split_frames(total: int, weights: Float[np.ndarray, " n"]) -> list[int]:
    """Whole numbers, at least one each, that add up to ``total`` and follow the weights."""
    ends = np.rint(np.cumsum(weights) / weights.sum() * total).astype(int)
    counts = np.maximum(np.diff(ends, prepend=0), 1)
    counts[np.argmax(counts)] += total - counts.sum()
    return [int(count) for count in counts]


def interpolate(points: list[tuple[Float[np.ndarray, "5"], float]], count: int) -> Float[np.ndarray, "count 6"]:
    """``count`` commands along the way points, eased within every leg."""
    way = np.array([np.append(joints, opening) for joints, opening in points])  # (points, 6)
    position = (np.arange(count) + 1) / count * (len(way) - 1)
    leg = np.minimum(position.astype(int), len(way) - 2)
    part = position - leg
    eased = (part * part * (3 - 2 * part))[:, None]
    return way[leg] * (1 - eased) + way[leg + 1] * eased


def _play(scene: Scene, colour: str, commands: Float[np.ndarray, "f 6"], phases: list[Phase]) -> tuple[Moment, ...]:
    cubes, state = resting_cubes(scene), commands[0].copy()
    grip: Pose | None = None
    released: str | None = None
    moments = []
    for command, phase in zip(commands, phases, strict=True):
        state = state + LAG * (command - state)
        held = colour if phase in HOLDING else None
        hand = arm.hand_pose(state[:5])
        if held and grip is None:
            grip = hand.inverse().after(cubes[colour])
        if held and grip is not None:
            cubes = cubes | {colour: hand.after(grip)}
        elif grip is not None:
            cubes, grip, released = cubes | {colour: _dropped(scene, colour, cubes[colour])}, None, colour
        moments.append(Moment(state.copy(), command.copy(), phase, held, released, dict(cubes)))
    return tuple(moments)


def _dropped(scene: Scene, colour: str, pose: Pose) -> Pose:
    """The released cube, flat on the floor of the box under where it was let go."""
    cube = scene.cube(colour)
    edge = cube.edge if cube else 0.03
    yaw = float(np.arctan2(pose.rotation[1, 0], pose.rotation[0, 0]))
    room = 0.5 * 0.105 - BOX_WALL - 0.72 * edge
    offset = turn(2, -scene.box_yaw) @ np.array(
        [pose.translation[0] - scene.box_x, pose.translation[1] - scene.box_y, 0.0]
    )
    offset = turn(2, scene.box_yaw) @ np.clip(offset, -room, room)
    place = np.array([scene.box_x + offset[0], scene.box_y + offset[1], BOX_WALL + edge / 2])
    return Pose(turn(2, yaw), place)
