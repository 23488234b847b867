"""A numpy z-buffer: triangles in, the nearest triangle and its depth at every pixel out.

One vectorised pass: every triangle's pixel box is listed, three edge functions say which of its pixels lie inside,
and ``np.maximum.at`` keeps the largest 1/z. Needs no GL, and gives the same bits on every run.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32

NEAR_M = 0.02


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: pose in the world (metres; x right, y down, z forward in its own frame) and image size.

    ``rotation`` rows are the camera's axes in world coordinates; ``focal_px`` is for the given size.
    """

    position: Float[np.ndarray, "3"]
    rotation: Float[np.ndarray, "3 3"]
    focal_px: float
    height: int
    width: int

    @classmethod
    def look_at(
        cls,
        eye: Float[np.ndarray, "3"],
        target: Float[np.ndarray, "3"],
        *,
        field_of_view_deg: float,
        height: int,
        width: int,
        roll_deg: float = 0.0,
    ) -> "Camera":
        """A camera at ``eye`` with ``target`` in its centre, z upward; ``field_of_view_deg`` is horizontal."""
        forward = (target - eye) / np.linalg.norm(target - eye)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        down = np.cross(forward, right)
        c, s = np.cos(np.radians(roll_deg)), np.sin(np.radians(roll_deg))
        rotation = np.stack([c * right + s * down, c * down - s * right, forward])
        focal = width / 2 / np.tan(np.radians(field_of_view_deg) / 2)
        return cls(np.asarray(eye, float), rotation, float(focal), height, width)

    def to_camera(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """World points in the camera's frame."""
        return (points - self.position) @ self.rotation.T

    def project(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
        """World points to pixels (x, y); a point behind the camera has no meaning."""
        local = self.to_camera(points)
        centre = np.array([self.width / 2, self.height / 2])
        return local[..., :2] / local[..., 2:] * self.focal_px + centre

    def rays(self) -> Float32[np.ndarray, "h w 3"]:
        """World direction of every pixel's centre, scaled so that its depth along the optical axis is 1."""
        x = (np.arange(self.width, dtype=np.float32) + 0.5 - self.width / 2) / np.float32(self.focal_px)
        y = (np.arange(self.height, dtype=np.float32) + 0.5 - self.height / 2) / np.float32(self.focal_px)
        axes = self.rotation.astype(np.float32)
        return x[None, :, None] * axes[0] + y[:, None, None] * axes[1] + axes[2]


class Buffers(NamedTuple):
    """What a pixel sees: index of its triangle (-1: none) and depth along the optical axis (inf: none)."""

    triangle: Int32[np.ndarray, "h w"]
    depth: Float32[np.ndarray, "h w"]


def rasterise(triangles: Float[np.ndarray, "t 3 3"], camera: Camera) -> Buffers:
    """The nearest front-facing triangle at every pixel's centre.

    Args:
        triangles: world corners, counter-clockwise seen from outside; those that reach behind the camera are dropped.
        camera: the view.
    """
    pixel, triangle, inverse = _fragments(triangles, camera)
    nearest = np.zeros(camera.height * camera.width, np.float32)  # (h*w,) 1/z, 0: nothing
    np.maximum.at(nearest, pixel, inverse)
    index = np.full(camera.height * camera.width, -1, np.int32)
    won = inverse == nearest[pixel]
    index[pixel[won]] = triangle[won]
    with np.errstate(divide="ignore"):
        depth = np.float32(1.0) / nearest
    shape = (camera.height, camera.width)
    return Buffers(index.reshape(shape), depth.reshape(shape))


def cover(triangles: Float[np.ndarray, "t 3 3"], camera: Camera) -> Bool[np.ndarray, "h w"]:
    """Which pixels any of the triangles covers, whichever side faces the camera (for shadows)."""
    both = np.concatenate([triangles, triangles[:, ::-1]])
    pixel, _, _ = _fragments(both, camera)
    mask = np.zeros(camera.height * camera.width, bool)
    mask[pixel] = True
    return mask.reshape(camera.height, camera.width)


def blend_weights(
    triangles: Float[np.ndarray, "t 3 3"], seen: Buffers, camera: Camera
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Float32[np.ndarray, "n 3"]]:
    """For every pixel that shows a triangle: its flat index, the triangle, and the weights of its corners there.

    With corners a, b, c in the camera's frame and the pixel's ray r, the ray meets the triangle at
    (a (r.(b x c)) + b (r.(c x a)) + c (r.(a x b))) / sum, which is perspective-correct.
    """
    pixel = np.flatnonzero(seen.triangle.ravel() >= 0)
    triangle = seen.triangle.ravel()[pixel].astype(np.int64)
    a, b, c = camera.to_camera(triangles).transpose(1, 0, 2)  # (t, 3) each
    row, column = np.divmod(pixel, camera.width)
    ray = np.stack(
        [column + 0.5 - camera.width / 2, row + 0.5 - camera.height / 2, np.full(len(pixel), camera.focal_px)]
    )
    facing = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)  # (t, 3 corners, 3)
    weights = np.einsum("nkd,dn->nk", facing[triangle], ray)
    return pixel, triangle, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


class Fragments(NamedTuple):
    """Every (pixel, triangle) pair with the pixel's centre inside the triangle, and 1/z there."""

    pixel: Int[np.ndarray, " f"]
    triangle: Int[np.ndarray, " f"]
    inverse_depth: Float32[np.ndarray, " f"]


def _fragments(triangles: Float[np.ndarray, "t 3 3"], camera: Camera) -> Fragments:
    local = camera.to_camera(triangles)  # (t, 3 corners, 3)
    z = local[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        x = local[..., 0] / z * camera.focal_px + camera.width / 2 - 0.5  # pixel centres at integers
        y = local[..., 1] / z * camera.focal_px + camera.height / 2 - 0.5
        area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    kept = np.flatnonzero((z > NEAR_M).all(axis=1) & (area < -1e-9))  # y down: counter-clockwise turns negative
    x, y, z, area = x[kept], y[kept], z[kept], area[kept]

    left = np.maximum(np.ceil(x.min(axis=1)), 0).astype(np.int64)
    top = np.maximum(np.ceil(y.min(axis=1)), 0).astype(np.int64)
    columns = np.minimum(np.floor(x.max(axis=1)), camera.width - 1).astype(np.int64) - left + 1
    rows = np.minimum(np.floor(y.max(axis=1)), camera.height - 1).astype(np.int64) - top + 1
    count = np.where((columns > 0) & (rows > 0), columns * rows, 0)

    which = np.repeat(np.arange(len(kept)), count)  # (boxes' pixels,)
    inside_box = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
    row, column = np.divmod(inside_box, columns[which])
    px, py = column + left[which], row + top[which]

    inside = np.ones(len(which), bool)
    inverse = np.zeros(len(which), np.float32)
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):  # barycentric weight of corner a: edge b-c
        along_x = (y[:, b] - y[:, c]) / area
        along_y = (x[:, c] - x[:, b]) / area
        at_zero = (x[:, b] * y[:, c] - x[:, c] * y[:, b]) / area
        weight = (along_x[which] * px + along_y[which] * py + at_zero[which]).astype(np.float32)
        inside &= weight >= 0
        inverse += weight * (1.0 / z[:, a]).astype(np.float32)[which]  # 1/z is affine on the screen
    return Fragments((py * camera.width + px)[inside], kept[which[inside]], inverse[inside])
