"""Boxes and cylinders as triangles, and rigid poses to put them somewhere."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
FACES = {  # corner indices of each face, counter-clockwise seen from outside; the order fixes the face numbers
    "front": (4, 6, 7, 5),
    "back": (0, 1, 3, 2),
    "left": (2, 3, 7, 6),
    "right": (0, 4, 5, 1),
    "top": (1, 5, 7, 3),
    "bottom": (0, 2, 6, 4),
}


class Solid(NamedTuple):
    """Triangles with the face each one belongs to."""

    triangles: Float[np.ndarray, "t 3 3"]
    faces: Int[np.ndarray, " t"]


def box(size: tuple[float, float, float], centre: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Solid:
    """A box of edge lengths ``size`` (metres): 12 triangles, faces numbered in the order of ``FACES``."""
    corners = CORNERS * np.asarray(size) + np.asarray(centre)
    quads = np.array(list(FACES.values()))  # (6, 4)
    triangles = corners[np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])]
    return Solid(triangles, np.tile(np.arange(6), 2))


def cylinder(
    radius: float, length: float, axis: int = 2, centre: tuple[float, float, float] = (0.0, 0.0, 0.0), sides: int = 14
) -> Solid:
    """A cylinder along one axis (0, 1, 2 = x, y, z): side face 0, caps 1."""
    angle = np.arange(sides) * 2 * np.pi / sides
    ring = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)  # (sides, 2)
    low = np.column_stack([ring, np.full(sides, -length / 2)])
    high = np.column_stack([ring, np.full(sides, length / 2)])
    low_next, high_next = np.roll(low, -1, axis=0), np.roll(high, -1, axis=0)
    bottom, top = np.tile([0, 0, -length / 2], (sides, 1)), np.tile([0, 0, length / 2], (sides, 1))
    triangles = np.concatenate(
        [
            np.stack([low, low_next, high_next], axis=1),
            np.stack([low, high_next, high], axis=1),
            np.stack([bottom, low_next, low], axis=1),
            np.stack([top, high, high_next], axis=1),
        ]
    )
    order = {0: [2, 0, 1], 1: [1, 2, 0], 2: [0, 1, 2]}[axis]  # cyclic: keeps the winding
    return Solid(triangles[..., order] + np.asarray(centre), np.repeat([0, 0, 1, 1], sides))


class Pose(NamedTuple):
    """A rigid transform: ``world = rotation @ local + translation``."""

    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]

    def apply(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Local points in the world."""
        return points @ self.rotation.T + self.translation

    def after(self, inner: "Pose") -> "Pose":
        """This pose applied after an inner one."""
        return Pose(self.rotation @ inner.rotation, self.rotation @ inner.translation + self.translation)

    def inverse(self) -> "Pose":
        """The pose that undoes this one."""
        return Pose(self.rotation.T, -self.rotation.T @ self.translation)


def turn(axis: int, angle: float) -> Float[np.ndarray, "3 3"]:
    """Rotation by ``angle`` radians about the x, y or z axis (0, 1, 2), right-handed."""
    c, s = np.cos(angle), np.sin(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix
