"""One tabletop with a cloth: how it is folded and where it lies, what it looks like, which corner can be picked."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from .cloth import GRIP_INSET, SIGNS, BoxPlace, Cloth, Fold, Hold, drape, frame, free_corners, grid, middle
from .scene import BOX_SIZE, REACH_Y, Looks, Scene, Viewpoint, draw_cameras, draw_looks

Pattern = Literal["plain", "stripes", "checks", "dots"]
FABRICS = (  # colour, second colour of the pattern
    ((0.86, 0.85, 0.80), (0.20, 0.30, 0.55)),
    ((0.20, 0.42, 0.52), (0.86, 0.86, 0.80)),
    ((0.72, 0.16, 0.14), (0.90, 0.86, 0.80)),
    ((0.84, 0.62, 0.16), (0.92, 0.90, 0.84)),
    ((0.28, 0.48, 0.26), (0.84, 0.86, 0.74)),
    ((0.55, 0.30, 0.50), (0.86, 0.80, 0.86)),
    ((0.24, 0.26, 0.34), (0.70, 0.72, 0.76)),
    ((0.82, 0.52, 0.48), (0.94, 0.88, 0.84)),
)
CLEARANCE = 0.012  # metres between cloth and box
CENTRE_X, CENTRE_Y = (0.155, 0.235), (-0.105, 0.105)
BOX_X = (0.165, 0.245)
CLOTH_VIEWPOINTS = {  # nearer than over the cubes: an edge of the cloth spans a third of the image
    "main": Viewpoint((0.60, 0.17, 0.43), (0.165, 0.0, 0.035), (36, 39), shake=(0.02, 0.01), roll_deg=1),
    "top": Viewpoint((0.40, 0.06, 0.58), (0.185, 0.0, 0.010), (34, 37), shake=(0.015, 0.008), roll_deg=2),
}
PATCH_RGB = (0.86, 0.16, 0.55)  # of the triangles over the corners: no fabric, table or solid has it


@dataclass(frozen=True)
class Fabric:
    """Everything of the cloth that changes a picture and no label; ``period`` of the pattern in 1/edge."""

    rgb: tuple[float, float, float]
    second_rgb: tuple[float, float, float]
    reverse_rgb: tuple[float, float, float]
    hem_rgb: tuple[float, float, float]
    patch_rgb: tuple[float, float, float]
    pattern: Pattern
    period: float


@dataclass(frozen=True)
class ClothScene:
    """A table without cubes, and a cloth on it (None: absent) with the corner that the expert picks."""

    table: Scene
    cloth: Cloth | None
    fabric: Fabric
    lying: Hold | None

    @property
    def box(self) -> BoxPlace:
        """Where the box stands."""
        return BoxPlace(self.table.box_x, self.table.box_y, self.table.box_yaw)


def draw_cloth_scene(rng: np.random.Generator, *, height: int, width: int, present: bool = True) -> ClothScene:
    """A random scene; the cloth lies clear of the box, and one of its free corners faces it."""
    looks = draw_looks(rng)
    cameras = draw_cameras(rng, height, width, CLOTH_VIEWPOINTS)
    fabric = _draw_fabric(rng, looks)
    while True:
        box = BoxPlace(
            float(rng.uniform(*BOX_X)),
            float(rng.choice([-1, 1]) * rng.uniform(0.075, REACH_Y[1])),
            float(rng.uniform(-0.4, 0.4)),
        )
        cloth = draw_cloth(rng)
        lying = _lay(rng, cloth, box)
        if lying is not None:
            break
    table = Scene(cubes=(), box_x=box.x, box_y=box.y, box_yaw=box.yaw, looks=looks, cameras=cameras)
    return ClothScene(table, cloth if present else None, fabric, lying if present else None)


def draw_cloth(rng: np.random.Generator) -> Cloth:
    """A cloth with no fold (one in five), one or two."""
    edge, folds = float(rng.uniform(0.140, 0.175)), []
    for _ in range(rng.choice([0, 1, 2], p=[0.2, 0.45, 0.35])):
        folds.append(_draw_fold(rng, edge))
    return Cloth(edge, tuple(folds), wrinkle=float(rng.uniform(0.0015, 0.005)), seed=int(rng.integers(2**31)))


def _draw_fold(rng: np.random.Generator, edge: float) -> Fold:
    """A corner turned in, a strip along one side, or (one in six) the half of the cloth."""
    half = edge / 2
    if rng.random() < 0.55:
        towards = SIGNS[rng.integers(4)] / np.sqrt(2)
        line = half * np.sqrt(2) - rng.uniform(0.26, 0.58) * edge
    else:
        quarter = rng.integers(4) * np.pi / 2
        towards = np.array([np.cos(quarter), np.sin(quarter)])
        line = half - rng.uniform(0.20, 0.42) * edge
    if rng.random() < 1 / 6:
        line = rng.uniform(0.0, 0.03) * edge
    tilt = rng.uniform(-0.22, 0.22)
    c, s = np.cos(tilt), np.sin(tilt)
    normal = np.array([c * towards[0] - s * towards[1], s * towards[0] + c * towards[1]])
    point = towards * line
    angle = np.pi - rng.uniform(0.02, 0.10)
    return Fold((float(point[0]), float(point[1])), (float(normal[0]), float(normal[1])), float(angle))


def _lay(rng: np.random.Generator, cloth: Cloth, box: BoxPlace) -> Hold | None:
    """A place on the table with the picked corner towards the box; None if there is none this time."""
    free = free_corners(cloth)
    x, y = rng.uniform(*CENTRE_X), rng.uniform(*CENTRE_Y)
    yaw = rng.uniform(0, 2 * np.pi)
    if not free:
        return None
    centre, to_box = middle(cloth), np.array([box.x - x, box.y - y])
    c, s = np.cos(yaw), np.sin(yaw)
    turned = np.array([[c, -s], [s, c]])
    chosen = max(free, key=lambda k: float((turned @ (frame(cloth, k)[0] - centre)) @ to_box))
    hold = _lying_hold(cloth, chosen, np.array([x, y]), yaw)
    facing = np.array([np.cos(hold.towards), np.sin(hold.towards)]) @ to_box / np.linalg.norm(to_box)
    return hold if facing < -0.5 and _clear(cloth, hold, box) else None


def _lying_hold(cloth: Cloth, corner: int, centre: Float[np.ndarray, "2"], yaw: float) -> Hold:
    """The hold at height 0 that leaves the cloth's middle at ``centre``, turned by ``yaw``."""
    here, inward = frame(cloth, corner)
    towards = float(np.arctan2(inward[1], inward[0]) + yaw)
    way = np.linalg.norm(middle(cloth) - here) - GRIP_INSET
    x, y = centre - way * np.array([np.cos(towards), np.sin(towards)])
    return Hold(corner, float(x), float(y), 0.0, towards)


def _clear(cloth: Cloth, hold: Hold, box: BoxPlace) -> bool:
    """Nothing of the cloth lies near the box or under the robot's base."""
    far = BoxPlace(9.0, 9.0, 0.0)
    points = drape(cloth, hold, far, grid(12))[:, :2]
    c, s = np.cos(box.yaw), np.sin(box.yaw)
    local = np.abs((points - [box.x, box.y]) @ np.array([[c, -s], [s, c]]))
    off_box = (local.max(axis=1) > BOX_SIZE[0] / 2 + CLEARANCE).all()
    return bool(off_box and np.linalg.norm(points, axis=1).min() > 0.075 and points[:, 0].max() < 0.33)


def _draw_fabric(rng: np.random.Generator, looks: Looks) -> Fabric:
    """A fabric that stands out from its table, its reverse paler."""
    ground = np.array(looks.table_rgb)
    while True:
        rgb, second = (np.array(c) for c in FABRICS[rng.integers(len(FABRICS))])
        rgb = np.clip(rgb * rng.uniform(0.85, 1.12) * (1 + rng.uniform(-0.06, 0.06, 3)), 0, 1)
        if np.abs(rgb - ground).max() > 0.18:
            break
    patterns: tuple[Pattern, ...] = ("plain", "stripes", "checks", "dots")
    pattern = patterns[rng.choice(4, p=[0.5, 0.2, 0.2, 0.1])]
    reverse = rgb * 0.62 + rng.uniform(0.24, 0.32)
    hem = rgb * 0.42 if rgb.mean() > 0.42 else 0.25 + 0.7 * second  # dark round a bright cloth, bright round a dark one
    return Fabric(
        _triple(rgb),
        _triple(second),
        _triple(reverse),
        _triple(hem),
        _triple(np.array(PATCH_RGB) * rng.uniform(0.85, 1.1)),
        pattern,
        period=float(rng.uniform(5, 10)),
    )


def _triple(rgb: Float[np.ndarray, "3"]) -> tuple[float, float, float]:
    r, g, b = np.clip(rgb, 0, 1).tolist()
    return r, g, b
