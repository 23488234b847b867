"""From a scene and the arm's configuration to a frame and an exact map of what each pixel shows."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from . import arm
from .rasteriser import Buffers, Camera, cover, rasterise
from .scene import BOX_SIZE, BOX_WALL, CUBE_RGB, Looks, Scene
from .solids import FACES, Pose, Solid, box, turn

FLOOR, TABLE, ARM, GRIPPER, BOX, ORANGE, BLUE, BLACK = range(8)
OBJECTS = ("floor", "table", "robot arm", "gripper", "white box", "orange cube", "blue cube", "black cube")
CUBE_OBJECT = {"orange": ORANGE, "blue": BLUE, "black": BLACK}
BOX_RIM, BOX_INSIDE, BOX_OUTSIDE = range(3)  # parts of the box; a cube's parts are its faces, in FACES' order
TABLE_X, TABLE_Y = (-0.22, 0.75), (-0.55, 0.55)
FLOOR_RGB = np.array([0.20, 0.20, 0.22], np.float32)
MATERIAL = {"motor": (0.13, 0.13, 0.145), "jaw": (0.16, 0.46, 0.38)}


class View(NamedTuple):
    """One rendered frame.

    ``rgb`` (h, w, 3) uint8; ``objects`` (h, w) the index into ``OBJECTS`` that each pixel shows; ``parts`` (h, w)
    the part within its object.
    """

    rgb: UInt8[np.ndarray, "h w 3"]
    objects: UInt8[np.ndarray, "h w"]
    parts: UInt8[np.ndarray, "h w"]


class Backdrop(NamedTuple):
    """What one camera sees of a scene before anything stands on it: the same for every moment of an episode.

    ``rays`` (h, w, 3) world directions; ``depth`` (h, w) of the table's plane; ``on_table`` (h, w) where the table
    really is; ``colour`` (h, w, 3) its texture, not yet lit.
    """

    camera: Camera
    rays: Float32[np.ndarray, "h w 3"]
    depth: Float32[np.ndarray, "h w"]
    on_table: Bool[np.ndarray, "h w"]
    colour: Float32[np.ndarray, "h w 3"]


class Mesh(NamedTuple):
    """All triangles of one moment, each with the object, part and colour it shows."""

    triangles: Float[np.ndarray, "t 3 3"]
    objects: UInt8[np.ndarray, " t"]
    parts: UInt8[np.ndarray, " t"]
    colours: Float32[np.ndarray, "t 3"]


def render(
    scene: Scene,
    backdrop: Backdrop,
    *,
    state: Float[np.ndarray, "6"],
    cubes: dict[str, Pose],
    rng: np.random.Generator,
) -> View:
    """Draw one moment.

    Args:
        scene: the table.
        backdrop: :func:`draw_backdrop` of the scene for the wanted camera.
        state: five joints (radians) and the gripper's opening (metres).
        cubes: where each cube is now.
        rng: of the sensor's noise.
    """
    mesh = build_mesh(scene, state, cubes)
    seen = rasterise(mesh.triangles, backdrop.camera)
    hit = seen.triangle >= 0
    objects = np.where(hit, mesh.objects[seen.triangle], np.where(backdrop.on_table, TABLE, FLOOR)).astype(np.uint8)
    parts = np.where(hit, mesh.parts[seen.triangle], 0).astype(np.uint8)
    colour = light_table(scene.looks, backdrop, shadow(scene.looks, backdrop.camera, mesh.triangles))
    colour[hit] = shade_solids(scene.looks, backdrop, mesh, seen)
    return View(expose(colour, edges(objects, seen), scene.looks, rng), objects, parts)


def draw_backdrop(scene: Scene, camera: Camera) -> Backdrop:
    """The empty table from one camera: where each pixel's ray meets its plane, and its texture there."""
    rays = camera.rays()
    down = np.minimum(rays[..., 2], -1e-3)
    depth = (-camera.position[2] / down).astype(np.float32)
    x, y = (camera.position[:2, None, None].astype(np.float32) + rays.transpose(2, 0, 1)[:2] * depth).astype(np.float32)
    on_table = (x > TABLE_X[0]) & (x < TABLE_X[1]) & (y > TABLE_Y[0]) & (y < TABLE_Y[1])
    return Backdrop(camera, rays, depth, on_table, _texture(scene.looks, x, y))


def build_mesh(scene: Scene, state: Float[np.ndarray, "6"], cubes: dict[str, Pose]) -> Mesh:
    """Arm, box and cubes as one list of world triangles."""
    pieces: list[tuple[Solid, Pose, int, Int[np.ndarray, " t"] | int, tuple[float, float, float]]] = []
    for part in arm.parts(state[:5], float(state[5])):
        owner = GRIPPER if part.material == "jaw" else ARM
        pieces.append((part.solid, part.pose, owner, 0, MATERIAL.get(part.material, scene.looks.link_rgb)))
    place = Pose(turn(2, scene.box_yaw), np.array([scene.box_x, scene.box_y, 0.0]))
    for solid, kinds in _box_slabs():
        pieces.append((solid, place, BOX, kinds, (0.93, 0.93, 0.92)))
    for cube in scene.cubes:
        solid = box((cube.edge,) * 3)
        pieces.append((solid, cubes[cube.colour], CUBE_OBJECT[cube.colour], solid.faces, CUBE_RGB[cube.colour]))
    sizes = [len(solid.triangles) for solid, *_ in pieces]
    return Mesh(
        triangles=np.concatenate([pose.apply(solid.triangles) for solid, pose, *_ in pieces]),
        objects=np.repeat([owner for _, _, owner, _, _ in pieces], sizes).astype(np.uint8),
        parts=np.concatenate([np.broadcast_to(p, n) for (*_, p, _), n in zip(pieces, sizes, strict=True)]).astype(
            np.uint8
        ),
        colours=np.repeat([colour for *_, colour in pieces], sizes, axis=0).astype(np.float32),
    )


def resting_cubes(scene: Scene) -> dict[str, Pose]:
    """Every cube where the scene put it."""
    return {c.colour: Pose(turn(2, c.yaw), np.array([c.x, c.y, c.edge / 2])) for c in scene.cubes}


def _box_slabs() -> list[tuple[Solid, Int[np.ndarray, " t"]]]:
    """Floor and four walls of the open box, each with the box part that every triangle shows."""
    x, y, z = BOX_SIZE
    w = BOX_WALL
    slabs = [
        (box((x - 2 * w, y - 2 * w, w), (0, 0, w / 2)), {"top"}),
        (box((w, y, z), (x / 2 - w / 2, 0, z / 2)), {"back"}),
        (box((w, y, z), (-x / 2 + w / 2, 0, z / 2)), {"front"}),
        (box((x - 2 * w, w, z), (0, y / 2 - w / 2, z / 2)), {"right"}),
        (box((x - 2 * w, w, z), (0, -y / 2 + w / 2, z / 2)), {"left"}),
    ]
    names = list(FACES)
    out = []
    for index, (solid, inner) in enumerate(slabs):
        kind = [BOX_INSIDE if n in inner else BOX_RIM if n == "top" and index else BOX_OUTSIDE for n in names]
        out.append((solid, np.array(kind)[solid.faces]))
    return out


def _texture(
    looks: Looks, x: Float32[np.ndarray, "h w"], y: Float32[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w 3"]:
    """Planks of wood or a speckled mat, as a function of the place on the table."""
    rng = np.random.default_rng(looks.texture_seed)
    a, b, c, d = rng.uniform(0, 6.28, 4)
    turn_by = rng.uniform(0, np.pi)
    u, v = np.cos(turn_by) * x + np.sin(turn_by) * y, np.cos(turn_by) * y - np.sin(turn_by) * x
    if looks.table_kind == "wood":
        bend = 0.012 * np.sin(9 * u + a) + 0.006 * np.sin(23 * u + b)
        grain = np.sin(190 * (v + bend) + c) * 0.5 + np.sin(410 * (v + bend) + d) * 0.3
        plank = np.floor(v / 0.09)
        grain += 0.8 * np.sin(12.9898 * plank) - 3.0 * (np.abs(v / 0.09 - plank - 0.5) > 0.488)
    else:
        grain = np.sin(330 * u + 40 * np.sin(57 * v + a) + b) * np.sin(310 * v + 40 * np.sin(61 * u + c) + d)
    return np.asarray(looks.table_rgb, np.float32) * (1 + looks.grain * grain.astype(np.float32))[..., None]


def light_table(looks: Looks, backdrop: Backdrop, blocked: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 3"]:
    """The table under light and shadow, and a dim floor beyond its edge."""
    direct = (1 - looks.ambient) * looks.light[2]
    lit = np.float32(looks.ambient + direct) - np.float32(0.85 * direct) * blocked
    return np.where(backdrop.on_table[..., None], backdrop.colour * lit[..., None], FLOOR_RGB)


def shadow(looks: Looks, camera: Camera, triangles: Float[np.ndarray, "t 3 3"]) -> Float32[np.ndarray, "h w"]:
    """How much of the light is blocked at each table pixel: every triangle flattened along the light, softened."""
    height = triangles[..., 2:]
    flat = triangles - height * (looks.light / looks.light[2])
    mask = cover(flat + np.array([0.0, 0.0, 1e-4]), camera)
    return blur(mask.astype(np.float32), max(1, camera.width // 160))


def shade_solids(looks: Looks, backdrop: Backdrop, mesh: Mesh, seen: Buffers) -> Float32[np.ndarray, "n 3"]:
    """Lambert light per triangle, darker towards the table and inside the box; one row for each pixel of a solid."""
    edge1 = mesh.triangles[:, 1] - mesh.triangles[:, 0]
    edge2 = mesh.triangles[:, 2] - mesh.triangles[:, 0]
    normal = np.cross(edge1, edge2)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    facing = np.clip(normal @ looks.light, 0, 1) * 0.85 + 0.15 * (normal[:, 2] * 0.5 + 0.5)
    inside = (mesh.objects == BOX) & (mesh.parts == BOX_INSIDE)
    lit = (looks.ambient + (1 - looks.ambient) * facing) * np.where(inside, 0.80, 1.0)
    colour = mesh.colours * lit.astype(np.float32)[:, None] + np.float32(0.012)
    hit = seen.triangle >= 0
    above = backdrop.camera.position[2].astype(np.float32) + backdrop.rays[..., 2][hit] * seen.depth[hit]
    contact = 0.78 + 0.22 * np.clip(above / 0.030, 0, 1)
    return (colour[seen.triangle[hit]] * contact[..., None]).astype(np.float32)


def edges(objects: UInt8[np.ndarray, "h w"], seen: Buffers) -> Bool[np.ndarray, "h w"]:
    """Pixels whose right or lower neighbour shows something else or lies much deeper: where a lens would blend."""
    edge = np.zeros(objects.shape, bool)
    depth = np.where(np.isfinite(seen.depth), seen.depth, 9.0)
    for axis in (0, 1):
        differs = (np.diff(objects.astype(np.int16), axis=axis) != 0) | (np.abs(np.diff(depth, axis=axis)) > 0.01)
        first = (slice(None, -1), slice(None)) if axis == 0 else (slice(None), slice(None, -1))
        second = (slice(1, None), slice(None)) if axis == 0 else (slice(None), slice(1, None))
        edge[first] |= differs
        edge[second] |= differs
    return edge


def expose(
    colour: Float32[np.ndarray, "h w 3"], edge: Bool[np.ndarray, "h w"], looks: Looks, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Blend edges, tint by the light's warmth, apply gamma 1/1.6 and the sensor's noise, round to bytes."""
    padded = np.pad(colour, ((1, 1), (1, 1), (0, 0)), mode="edge")
    h, w = edge.shape
    blurred = sum(padded[1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w] for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)))
    colour = np.where(edge[..., None], 0.5 * colour + 0.125 * blurred, colour)
    colour = np.clip(colour * np.array([1 + looks.warmth, 1.0, 1 - looks.warmth], np.float32), 0, 1)
    colour = np.power(colour, np.float32(1 / 1.6))
    colour += rng.standard_normal(colour.shape, dtype=np.float32) * np.float32(looks.noise)
    return np.clip(np.rint(colour * 255), 0, 255).astype(np.uint8)


def blur(image: Float32[np.ndarray, "h w"], radius: int) -> Float32[np.ndarray, "h w"]:
    """Two passes of a box filter of width 2 radius + 1."""
    for _ in range(2):
        for axis in (0, 1):
            width = 2 * radius + 1
            pad = [(radius + 1, radius) if a == axis else (0, 0) for a in (0, 1)]
            total = np.cumsum(np.pad(image, pad, mode="edge"), axis=axis, dtype=np.float32)
            upper = total[width:] if axis == 0 else total[:, width:]
            lower = total[:-width] if axis == 0 else total[:, :-width]
            image = (upper - lower) / width
    return image
