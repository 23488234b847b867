"""A square cloth as a surface: folds, a corner lifted by the gripper, and what it lies on. Every corner is known.

Folds and the lift roll the material without stretching it (the sheet of a fold follows a small cylinder); only the
wrinkles, a few millimetres high, and what the box's walls push up are not isometric.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .scene import BOX_SIZE, BOX_WALL
from .solids import turn

CELLS = 34  # of the mesh along one edge
ROLL = 0.0018  # metres: radius of the first fold
THICKNESS = 0.0012
GRIP_INSET = 0.014  # metres along the diagonal from the corner to where the jaws hold it
STEEPEST = 1.1  # radians under the horizontal: how the cloth leaves the jaws
RIDGE = 1.0  # radians: how steeply it falls to both sides of the diagonal there
RIM_SLOPE = 1.6  # of the cloth where it hangs over a wall of the box
SIGNS = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])  # corners 0..3, counter-clockwise


class Fold(NamedTuple):
    """The side of a line that is turned over: ``point`` on the line, ``normal`` towards that side, ``angle`` < pi."""

    point: tuple[float, float]
    normal: tuple[float, float]
    angle: float


@dataclass(frozen=True)
class Cloth:
    """The material: edge (metres), its folds in order, wrinkles (amplitude in metres and a seed)."""

    edge: float
    folds: tuple[Fold, ...]
    wrinkle: float
    seed: int


class Hold(NamedTuple):
    """Where a corner is: ``corner`` 0..3, the jaws' place over the table, their height over it (0: lying), and the
    horizontal direction (radians) from there to the cloth's middle."""

    corner: int
    x: float
    y: float
    height: float
    towards: float


class BoxPlace(NamedTuple):
    """Where the open box stands."""

    x: float
    y: float
    yaw: float


def grid(cells: int = CELLS) -> Float[np.ndarray, "v 2"]:
    """Material coordinates of the mesh's vertices in -1..1, row by row."""
    line = np.linspace(-1, 1, cells + 1)
    v, u = np.meshgrid(line, line, indexing="ij")
    return np.stack([u.ravel(), v.ravel()], axis=1)


def fold(cloth: Cloth, material: Float[np.ndarray, "v 2"]) -> Float[np.ndarray, "v 3"]:
    """Folded and lying flat, in metres round the unfolded cloth's centre; z is the height within the stack."""
    points = np.column_stack([material * cloth.edge / 2, np.zeros(len(material))])
    radius = ROLL
    for turned in cloth.folds:
        normal = np.array(turned.normal)
        beyond = (points[:, :2] - np.array(turned.point)) @ normal  # (v,) material on this side is rolled
        angle = np.clip(beyond / radius, 0, turned.angle)
        straight = np.maximum(beyond - radius * turned.angle, 0)
        inner = radius - points[:, 2]
        along = inner * np.sin(angle) + straight * np.cos(angle)
        height = radius - inner * np.cos(angle) + straight * np.sin(angle)
        rolled = np.column_stack([points[:, :2] + (along - beyond)[:, None] * normal, height])
        points = np.where((beyond > 0)[:, None], rolled, points)
        radius = float(radius * 2 + ROLL)  # over everything that is there now
    return points


def corner_material(corner: int, inset: float = 0.0) -> Float[np.ndarray, "2"]:
    """Material coordinates of a corner, or of the place that lies inwards by a share of the half diagonal."""
    place: Float[np.ndarray, "2"] = SIGNS[corner] * (1.0 - inset)
    return place


def drape(cloth: Cloth, hold: Hold, box: BoxPlace, material: Float[np.ndarray, "v 2"]) -> Float[np.ndarray, "v 3"]:
    """The world place of any material point (coordinates in -1..1) while ``hold`` is true."""
    flat = fold(cloth, material)
    corner, inward = frame(cloth, hold.corner)
    along = (flat[:, :2] - corner) @ inward - GRIP_INSET
    across = (flat[:, :2] - corner) @ np.array([-inward[1], inward[0]])
    away, height, side = _tent(along, across, hold.height, seed=cloth.seed)
    c, s = np.cos(hold.towards), np.sin(hold.towards)
    x, y = hold.x + c * away - s * side, hold.y + s * away + c * side
    bumps = cloth.wrinkle * _bumps(cloth.seed, flat[:, 0], flat[:, 1])
    resting = np.maximum(height, _support(box, x, y))
    return np.column_stack([x, y, resting + flat[:, 2] + bumps + THICKNESS])


def frame(cloth: Cloth, corner: int) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """Place of a corner on the folded cloth, and the unit direction from there to the folded cloth's middle."""
    here = fold(cloth, corner_material(corner)[None])[0, :2]
    inward = middle(cloth) - here
    return here, inward / np.linalg.norm(inward)


def middle(cloth: Cloth) -> Float[np.ndarray, "2"]:
    """Centre of the folded cloth, in metres."""
    centre: Float[np.ndarray, "2"] = fold(cloth, grid(16)).mean(axis=0)[:2]
    return centre


def free_corners(cloth: Cloth) -> list[int]:
    """The corners that nothing of the folded cloth reaches beyond: those that lift without unfolding anything."""
    points = fold(cloth, grid(16))[:, :2]
    found = []
    for corner in range(4):
        here, inward = frame(cloth, corner)
        if ((points - here) @ inward).min() > -0.002:
            found.append(corner)
    return found


def taut_reach(cloth: Cloth, corner: int, height: float) -> float:
    """Horizontal metres from the jaws to the cloth's middle when a corner is held at a height."""
    here, _ = frame(cloth, corner)
    along = np.array([np.linalg.norm(middle(cloth) - here) - GRIP_INSET])
    return float(_profile(along, height)[0][0])


def _profile(along: Float[np.ndarray, " v"], height: float) -> tuple[Float[np.ndarray, " v"], Float[np.ndarray, " v"]]:
    """The cut along the diagonal: (horizontal way, height) at a length ``along`` from the jaws; the tip droops."""
    steps = np.linspace(0, 1, 129)
    slope = STEEPEST * (1 + np.cos(np.pi * steps)) / 2
    sink = np.concatenate([[0], np.cumsum((np.sin(slope)[1:] + np.sin(slope)[:-1]) / 2) / 128])
    out = np.concatenate([[0], np.cumsum((np.cos(slope)[1:] + np.cos(slope)[:-1]) / 2) / 128])
    length = max(height, 1e-6) / sink[-1]
    share = np.clip(along / length, 0, 1)
    droop = 0.6 * height / (height + 0.008)
    tip = np.minimum(along, 0)
    away = length * np.interp(share, steps, out) + np.maximum(along - length, 0) + tip * np.cos(droop)
    return away, np.maximum(height - length * np.interp(share, steps, sink) + tip * np.sin(droop), 0)


def _tent(
    along: Float[np.ndarray, " v"], across: Float[np.ndarray, " v"], height: float, *, seed: int
) -> tuple[Float[np.ndarray, " v"], Float[np.ndarray, " v"], Float[np.ndarray, " v"]]:
    """Both sides of the diagonal fall from its ridge to the table: (away, height, sideways) of every point."""
    away, ridge = _profile(along, height)
    lifted = ridge / (ridge + 0.02)  # (v,) 0 on the table, towards 1 in the air
    angle = RIDGE * ridge / (ridge + 0.008) + 1e-6
    round_off = 0.003 * lifted
    beside = np.sqrt(across**2 + round_off**2) - round_off
    fall = np.minimum(beside, ridge / np.sin(angle))
    rng = np.random.default_rng(seed)
    ripple = np.sin(beside * rng.uniform(130, 190) + rng.uniform(0, 6.28) + np.sign(across) * rng.uniform(0, 1.5))
    swing = 0.004 * lifted * (1 - np.exp(-beside / 0.012)) * ripple * (1 - np.exp(-np.maximum(along, 0) / 0.02))
    return away + swing, ridge - fall * np.sin(angle), np.sign(across) * (fall * np.cos(angle) + beside - fall)


def _support(box: BoxPlace, x: Float[np.ndarray, " v"], y: Float[np.ndarray, " v"]) -> Float[np.ndarray, " v"]:
    """Height of what a cloth lies on: the table, the box's floor, and slopes on both sides of its rim."""
    turned = turn(2, -box.yaw)[:2, :2]
    place = np.abs(np.column_stack([x - box.x, y - box.y]) @ turned.T)  # (v, 2)
    half, rim = BOX_SIZE[0] / 2, BOX_SIZE[2] + 0.0015
    reach = place.max(axis=1)
    inside = np.maximum(rim - RIM_SLOPE * np.maximum(half - BOX_WALL - reach, 0), BOX_WALL)
    outside = rim - RIM_SLOPE * np.maximum(reach - half, 0)
    return np.where(reach < half, inside, np.maximum(outside, 0.0))


def _bumps(seed: int, x: Float[np.ndarray, " v"], y: Float[np.ndarray, " v"]) -> Float[np.ndarray, " v"]:
    """Smooth wrinkles between 0 and 1: a few waves across the cloth."""
    rng = np.random.default_rng([seed, 1])
    total = np.zeros_like(x)
    for wave in (22.0, 31.0, 47.0, 70.0):
        heading, phase = rng.uniform(0, np.pi), rng.uniform(0, 6.28)
        total += (22.0 / wave) * np.sin(wave * (np.cos(heading) * x + np.sin(heading) * y) + phase)
    return np.clip(0.5 + total / 4, 0, 1)
