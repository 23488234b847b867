"""One tabletop: where things stand, what they look like, and from where they are seen. Drawn anew for each episode."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from .language import COLOURS
from .rasteriser import Camera

CUBE_RGB = {"orange": (0.93, 0.42, 0.07), "blue": (0.10, 0.27, 0.78), "black": (0.040, 0.040, 0.046)}
BOX_SIZE = (0.105, 0.105, 0.042)  # outer metres
BOX_WALL = 0.006
REACH_X, REACH_Y = (0.150, 0.275), (-0.135, 0.135)  # where cubes and box may stand
TABLES = (  # base colour, grain contrast, kind
    ((0.60, 0.44, 0.29), 0.10, "wood"),
    ((0.45, 0.31, 0.20), 0.12, "wood"),
    ((0.74, 0.63, 0.48), 0.08, "wood"),
    ((0.52, 0.53, 0.54), 0.04, "speckle"),
    ((0.36, 0.46, 0.40), 0.04, "speckle"),
    ((0.66, 0.64, 0.60), 0.05, "speckle"),
    ((0.42, 0.38, 0.44), 0.05, "speckle"),
)


@dataclass(frozen=True)
class Cube:
    """A coloured cube at rest: centre on the table (metres), edge (metres), turn about the vertical (radians)."""

    colour: str
    x: float
    y: float
    edge: float
    yaw: float


@dataclass(frozen=True)
class Looks:
    """Everything that changes a picture and no label: table, light, sensor."""

    table_rgb: tuple[float, float, float]
    grain: float
    table_kind: Literal["wood", "speckle"]
    link_rgb: tuple[float, float, float]
    light: Float[np.ndarray, "3"]  # unit vector towards the light
    ambient: float
    warmth: float
    noise: float  # standard deviation of the sensor, in 0..1
    texture_seed: int


@dataclass(frozen=True)
class Scene:
    """One table with its cubes, box, looks and two cameras."""

    cubes: tuple[Cube, ...]
    box_x: float
    box_y: float
    box_yaw: float
    looks: Looks
    cameras: dict[str, Camera]

    def cube(self, colour: str) -> Cube | None:
        """The cube of a colour, or None."""
        return next((cube for cube in self.cubes if cube.colour == colour), None)


def draw_scene(rng: np.random.Generator, *, height: int, width: int, target: str, target_present: bool = True) -> Scene:
    """A random scene in which ``target``'s cube is present or not; each other cube is there three times in four."""
    colours = [c for c in COLOURS if (target_present if c == target else rng.random() < 0.75)]
    places = _draw_places(rng, len(colours) + 1)
    cubes = tuple(
        Cube(colour, x, y, edge=rng.uniform(0.030, 0.034), yaw=rng.uniform(0, np.pi / 2))
        for colour, (x, y) in zip(colours, places[1:], strict=True)
    )
    box_x, box_y = places[0]
    return Scene(
        cubes=cubes,
        box_x=box_x,
        box_y=box_y,
        box_yaw=rng.uniform(-0.4, 0.4),
        looks=draw_looks(rng),
        cameras=draw_cameras(rng, height, width),
    )


def _draw_places(rng: np.random.Generator, count: int) -> list[tuple[float, float]]:
    """Places on the table, the box's first, far enough from each other for the gripper to pass."""
    while True:
        places: list[tuple[float, float]] = []
        for index in range(count):
            for _ in range(60):
                x, y = rng.uniform(*REACH_X), rng.uniform(*REACH_Y)
                clear = [0.105 if other == 0 else 0.062 for other in range(index)]
                if all(np.hypot(x - a, y - b) > d for (a, b), d in zip(places, clear, strict=True)):
                    places.append((float(x), float(y)))
                    break
        if len(places) == count:
            return places


def draw_looks(rng: np.random.Generator) -> Looks:
    """A random table, light and sensor."""
    base, grain, kind = TABLES[rng.integers(len(TABLES))]
    tint = rng.uniform(0.85, 1.15) * (1 + rng.uniform(-0.05, 0.05, 3))
    azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.9, 2.0)
    light = np.array([np.cos(azimuth), np.sin(azimuth), height])
    grey = rng.uniform(0.62, 0.76)
    return Looks(
        table_rgb=tuple(np.clip(np.array(base) * tint, 0, 1).tolist()),
        grain=grain,
        table_kind="wood" if kind == "wood" else "speckle",
        link_rgb=tuple((grey * np.array([1.0, 0.99, 0.95])).tolist()),
        light=light / np.linalg.norm(light),
        ambient=float(rng.uniform(0.42, 0.58)),
        warmth=float(rng.uniform(-0.05, 0.05)),
        noise=float(rng.uniform(0.004, 0.012)),
        texture_seed=int(rng.integers(2**31)),
    )


def draw_cameras(rng: np.random.Generator, height: int, width: int) -> dict[str, Camera]:
    """``main`` looks across the table at the robot, ``top`` looks down on it; both a little off in each episode."""

    def jitter(scale: float) -> Float[np.ndarray, "3"]:
        return rng.uniform(-scale, scale, 3)

    main = Camera.look_at(
        np.array([0.64, 0.20, 0.42]) + jitter(0.02),
        np.array([0.125, 0.0, 0.075]) + jitter(0.01),
        field_of_view_deg=float(rng.uniform(41, 44)),
        height=height,
        width=width,
        roll_deg=float(rng.uniform(-1, 1)),
    )
    top = Camera.look_at(
        np.array([0.40, 0.06, 0.60]) + jitter(0.015),
        np.array([0.175, 0.0, 0.010]) + jitter(0.008),
        field_of_view_deg=float(rng.uniform(36, 39)),
        height=height,
        width=width,
        roll_deg=float(rng.uniform(-2, 2)),
    )
    return {"main": main, "top": top}
