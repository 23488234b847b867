"""One tabletop: where things stand, what they look like, and from where they are seen. Drawn anew for each episode."""

from collections.abc import Mapping
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
class Viewpoint:
    """Where a camera stands and looks (metres), and how far from either it may be; angles in degrees."""

    eye: tuple[float, float, float]
    target: tuple[float, float, float]
    field_of_view_deg: tuple[float, float]
    shake: tuple[float, float]
    roll_deg: float


VIEWPOINTS: Mapping[str, Viewpoint] = {  # across the table at the robot, and down on it
    "main": Viewpoint((0.64, 0.20, 0.42), (0.125, 0.0, 0.075), (41, 44), shake=(0.02, 0.01), roll_deg=1),
    "top": Viewpoint((0.40, 0.06, 0.60), (0.175, 0.0, 0.010), (36, 39), shake=(0.015, 0.008), roll_deg=2),
}


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


def draw_cameras(
    rng: np.random.Generator, height: int, width: int, viewpoints: Mapping[str, Viewpoint] = VIEWPOINTS
) -> dict[str, Camera]:
    """A camera at every viewpoint, a little off in each episode."""
    return {name: _draw_camera(rng, height, width, viewpoint) for name, viewpoint in viewpoints.items()}


def _draw_camera(rng: np.random.Generator, height: int, width: int, viewpoint: Viewpoint) -> Camera:
    of_eye, of_target = viewpoint.shake
    return Camera.look_at(
        np.array(viewpoint.eye) + rng.uniform(-of_eye, of_eye, 3),
        np.array(viewpoint.target) + rng.uniform(-of_target, of_target, 3),
        field_of_view_deg=float(rng.uniform(*viewpoint.field_of_view_deg)),
        height=height,
        width=width,
        roll_deg=float(rng.uniform(-viewpoint.roll_deg, viewpoint.roll_deg)),
    )
