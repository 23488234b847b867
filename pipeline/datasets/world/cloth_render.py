"""From a table with a cloth to a frame, the id map, and which part of the cloth each pixel shows."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from .cloth import CELLS, Hold, drape, grid
from .cloth_scene import ClothScene, Fabric
from .rasteriser import blend_weights, rasterise
from .render import (
    FLOOR,
    OBJECTS,
    TABLE,
    Backdrop,
    Mesh,
    View,
    blur,
    build_mesh,
    edges,
    expose,
    light_table,
    shade_solids,
    shadow,
)
from .scene import Looks

CLOTH = len(OBJECTS)
CLOTH_OBJECTS = (*OBJECTS, "cloth")
INSIDE, HEM, FIRST_CORNER = 0, 1, 2  # parts of the cloth; corner k is part FIRST_CORNER + k
CORNER_SIDE, HEM_WIDTH = 0.022, 0.009  # metres of material that belong to a corner, to the hem
PATCH = 0.020  # metres: the legs of the coloured triangle sewn over every corner
STITCH = 0.0007  # metres: half the seam that runs along the hem
SHADE_CELL = 0.003  # metres: of the height map that darkens what lies under a fold


class Sheet(NamedTuple):
    """The cloth at one moment: both sides of every cell as triangles, and what varies over them.

    ``corners`` (t, 3) vertex numbers; ``front`` (t,) which side a triangle is; ``points`` (v, 3) world places;
    ``normals`` (v, 3) of the front; ``open`` (v,) how freely light reaches a vertex, in 0..1.
    """

    corners: Int[np.ndarray, "t 3"]
    front: Bool[np.ndarray, " t"]
    points: Float[np.ndarray, "v 3"]
    normals: Float[np.ndarray, "v 3"]
    open: Float[np.ndarray, " v"]


def render_cloth(
    scene: ClothScene, backdrop: Backdrop, *, state: Float[np.ndarray, "6"], hold: Hold | None, rng: np.random.Generator
) -> View:
    """Draw one moment; ``parts`` of the view are those of the cloth where ``objects`` is :data:`CLOTH`.

    Args:
        scene: the table and its cloth.
        backdrop: :func:`~.render.draw_backdrop` of the table for the wanted camera.
        state: five joints (radians) and the gripper's opening (metres).
        hold: where the cloth's held corner is; None if there is no cloth.
        rng: of the sensor's noise.
    """
    looks, camera = scene.table.looks, backdrop.camera
    solids = build_mesh(scene.table, state, {})
    sheet = lay_sheet(scene, hold) if hold else None
    mesh = _with_sheet(solids, sheet) if sheet else solids
    seen = rasterise(mesh.triangles, camera)
    hit = seen.triangle >= 0
    objects = np.where(hit, mesh.objects[seen.triangle], np.where(backdrop.on_table, TABLE, FLOOR)).astype(np.uint8)
    parts = np.where(hit, mesh.parts[seen.triangle], 0).astype(np.uint8)
    dark = shadow(looks, camera, solids.triangles)
    cast = shadow(looks, camera, sheet.points[sheet.corners[sheet.front]]) if sheet else dark
    colour = light_table(looks, backdrop, np.maximum(dark, cast))
    colour[hit] = shade_solids(looks, backdrop, mesh, seen)
    if sheet and scene.cloth:
        pixel, triangle, weights = blend_weights(mesh.triangles, seen, camera)
        mine = triangle >= len(solids.triangles)
        pixel, triangle, weights = pixel[mine], triangle[mine] - len(solids.triangles), weights[mine]
        place = _mix(weights, grid()[sheet.corners[triangle]])  # (n, 2) in -1..1
        parts.ravel()[pixel] = cloth_parts(place, scene.cloth.edge)
        lit = _light_cloth(looks, sheet, triangle, weights, dark.ravel()[pixel])
        colour.reshape(-1, 3)[pixel] = dye(scene.fabric, scene.cloth.edge, place, sheet.front[triangle]) * lit[:, None]
    return View(expose(colour, edges(objects, seen), looks, rng), objects, parts)


def lay_sheet(scene: ClothScene, hold: Hold) -> Sheet:
    """The cloth's mesh while ``hold`` is true; ValueError if the scene has no cloth."""
    if scene.cloth is None:
        raise ValueError("there is no cloth on this table")
    points = drape(scene.cloth, hold, scene.box, grid())
    index = np.arange((CELLS + 1) ** 2).reshape(CELLS + 1, CELLS + 1)
    a, b, c, d = (side.ravel() for side in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    upper = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    corners = np.concatenate([upper, upper[:, ::-1]])
    front = np.arange(len(corners)) < len(upper)
    return Sheet(corners, front, points, _normals(points), _openness(points))


def cloth_parts(place: Float[np.ndarray, "n 2"], edge: float) -> UInt8[np.ndarray, " n"]:
    """The part of every material place (coordinates in -1..1): inside, hem, or one of four corners."""
    from_edge = (1 - np.abs(place)) * edge / 2  # (n, 2) metres
    part = np.where(from_edge.min(axis=1) < HEM_WIDTH, HEM, INSIDE)
    right, far = place[:, 0] > 0, place[:, 1] > 0
    corner = np.where(far, np.where(right, 2, 3), np.where(right, 1, 0))
    return np.where(from_edge.max(axis=1) < CORNER_SIDE, FIRST_CORNER + corner, part).astype(np.uint8)


def dye(
    fabric: Fabric, edge: float, place: Float[np.ndarray, "n 2"], front: Bool[np.ndarray, " n"]
) -> Float32[np.ndarray, "n 3"]:
    """Colour of the fabric, not yet lit: its pattern, a paler reverse, and on both sides a hem and corner patches."""
    wave = np.sin(place * np.pi * fabric.period / 2)
    share = {
        "plain": np.zeros(len(place)),
        "stripes": (wave[:, 0] > 0.55).astype(float),
        "checks": 0.5 * (wave[:, 0] > 0.2) + 0.5 * (wave[:, 1] > 0.2),
        "dots": (wave[:, 0] * wave[:, 1] > 0.72).astype(float),
    }[fabric.pattern]
    front_rgb = np.array(fabric.rgb) * (1 - share[:, None]) + np.array(fabric.second_rgb) * share[:, None]
    reverse = np.array(fabric.reverse_rgb) * (1 - 0.25 * share[:, None])
    rgb = np.where(front[:, None], front_rgb, reverse)
    from_edges = (1 - np.abs(place)) * edge / 2
    to_edge, to_corner = from_edges.min(axis=1), from_edges.sum(axis=1)
    rgb = np.where((to_edge < HEM_WIDTH)[:, None], np.array(fabric.hem_rgb), rgb)
    rgb = np.where((to_corner < PATCH)[:, None], np.array(fabric.patch_rgb), rgb)
    sewn = np.where(to_corner < PATCH + STITCH, PATCH - to_corner, to_edge - HEM_WIDTH)
    return (rgb * np.where(np.abs(sewn) < STITCH, 0.75, 1.0)[:, None]).astype(np.float32)


def _with_sheet(solids: Mesh, sheet: Sheet) -> Mesh:
    count = len(sheet.corners)
    return Mesh(
        triangles=np.concatenate([solids.triangles, sheet.points[sheet.corners]]),
        objects=np.concatenate([solids.objects, np.full(count, CLOTH, np.uint8)]),
        parts=np.concatenate([solids.parts, np.zeros(count, np.uint8)]),
        colours=np.concatenate([solids.colours, np.ones((count, 3), np.float32)]),
    )


def _light_cloth(
    looks: Looks,
    sheet: Sheet,
    triangle: Int[np.ndarray, " n"],
    weights: Float32[np.ndarray, "n 3"],
    dark: Float32[np.ndarray, " n"],
) -> Float32[np.ndarray, " n"]:
    """Soft light on cloth: smooth normals, a wrapped cosine, less under folds and where the arm blocks it."""
    vertices = sheet.corners[triangle]
    normal = _mix(weights, sheet.normals[vertices])
    normal *= np.where(sheet.front[triangle], 1.0, -1.0)[:, None]
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    wrapped = np.clip((normal @ looks.light + 0.25) / 1.25, 0, 1) ** 1.3
    height = _mix(weights, sheet.points[vertices])[:, 2]
    blocked = dark * np.clip(1 - height / 0.06, 0, 1)  # the shadow was cast on the table's plane
    direct = (1 - looks.ambient) * wrapped * (1 - 0.85 * blocked)
    sky = looks.ambient * (0.62 + 0.38 * normal[:, 2])
    return ((direct * 1.15 + sky) * _mix(weights, sheet.open[vertices][..., None])[:, 0]).astype(np.float32)


def _mix(weights: Float32[np.ndarray, "n 3"], values: Float[np.ndarray, "n 3 d"]) -> Float[np.ndarray, "n d"]:
    mixed: Float[np.ndarray, "n d"] = np.einsum("nk,nkd->nd", weights, values)
    return mixed


def _normals(points: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
    """Of the front, by central differences along the mesh's rows and columns."""
    surface = points.reshape(CELLS + 1, CELLS + 1, 3)
    normal = np.cross(np.gradient(surface, axis=1), np.gradient(surface, axis=0)).reshape(-1, 3)
    unit: Float[np.ndarray, "v 3"] = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    return unit


def _openness(points: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, " v"]:
    """1 in the open, less where a layer lies above or close beside: from a blurred map of the greatest heights."""
    low = points[:, :2].min(axis=0) - 6 * SHADE_CELL
    cell = np.floor((points[:, :2] - low) / SHADE_CELL).astype(np.int64)
    size = cell.max(axis=0) + 7
    highest = np.zeros(size, np.float32)
    np.maximum.at(highest, (cell[:, 0], cell[:, 1]), points[:, 2].astype(np.float32))
    around = blur(highest, 1)[cell[:, 0], cell[:, 1]]
    opened: Float[np.ndarray, " v"] = 1 - 0.55 * np.clip((around - points[:, 2] - 0.0006) / 0.006, 0, 1)
    return opened
