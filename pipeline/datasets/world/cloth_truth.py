"""What is true of a cloth frame: where its corners are, and the one rule by which an instruction is labelled.

Nothing held and corners in view: the task is positive on them, any of them would do. A corner held, or just let go:
the task is positive on the white box. "In the gripper" means the held corner alone, "on the table" every other one.
A region counts only where it is in view; without one the row is negative.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ..corners import CORNER_SCHEMA
from ..masks import encode_rle, innermost_pixel
from .cloth import SIGNS, drape
from .cloth_episode import ClothMoment
from .cloth_render import CLOTH, FIRST_CORNER
from .cloth_scene import ClothScene
from .language import BOX as BOX_NAME
from .rasteriser import Camera
from .render import BOX, View
from .truth import VISIBLE

__all__ = [
    "CORNER_SCHEMA",
    "INSTRUCTIONS",
    "TASK",
    "Corners",
    "cloth_label_rows",
    "corner_rows",
    "find_corners",
]

TASK = "Pick up a corner of the cloth and place inside white box"
HELD = "Point to the corner of the cloth in the gripper"
LYING = "Point to the corners of the cloth on the table"
INSTRUCTIONS = (TASK, HELD, LYING)
CORNER, HELD_CORNER = "cloth corner", "held cloth corner"
VISIBLE_PATCH = VISIBLE / 4  # smallest share of the frame in which corners count as seen
SECOND_POINT = 0.45  # share of the half diagonal from a corner to the point that gives its orientation


class Corners(NamedTuple):
    """The four corners in one frame, in pixels of that frame (0, 0 is the outer corner of the first pixel).

    ``xy`` (4, 2) where they are; ``inward`` (4, 2) a point of the cloth's diagonal behind each; ``visible`` (4,)
    whether the frame shows the corner; ``held`` (4,) which one the gripper has.
    """

    xy: Float[np.ndarray, "4 2"]
    inward: Float[np.ndarray, "4 2"]
    visible: Bool[np.ndarray, "4"]
    held: Bool[np.ndarray, "4"]


def find_corners(scene: ClothScene, moment: ClothMoment, camera: Camera, view: View) -> Corners | None:
    """The corners of a rendered moment; None if there is no cloth."""
    if scene.cloth is None or moment.hold is None:
        return None
    places = np.concatenate([SIGNS, SIGNS * (1 - SECOND_POINT)]).astype(float)
    pixels = camera.project(drape(scene.cloth, moment.hold, scene.box, places))
    visible = np.array([_shows(view, pixels[k], k) for k in range(4)])
    return Corners(pixels[:4], pixels[4:], visible, (np.arange(4) == moment.hold.corner) & moment.held)


def corner_rows(corners: Corners) -> list[dict[str, Any]]:
    """Rows of :data:`CORNER_SCHEMA` (without episode, frame and camera)."""
    return [
        {
            "corner": k,
            "x": float(corners.xy[k, 0]),
            "y": float(corners.xy[k, 1]),
            "inward_x": float(corners.inward[k, 0]),
            "inward_y": float(corners.inward[k, 1]),
            "visible": bool(corners.visible[k]),
            "held": bool(corners.held[k]),
        }
        for k in range(4)
    ]


def cloth_label_rows(moment: ClothMoment, view: View) -> list[dict[str, Any]]:
    """One label row (without episode, frame and camera) for each of :data:`INSTRUCTIONS`."""
    return [_label_row(moment, view, text) for text in INSTRUCTIONS]


def _label_row(moment: ClothMoment, view: View, text: str) -> dict[str, Any]:
    row = {"instruction": text, "phase": moment.phase, "target": "", "positive": False}
    target, mask = _region(moment, view, text)
    if mask.sum() < (VISIBLE if target == BOX_NAME else VISIBLE_PATCH) * mask.size:
        return row
    x, y = innermost_pixel(mask)
    height, width = mask.shape
    region = {"point_x": x, "point_y": y, "mask": encode_rle(mask), "mask_height": height, "mask_width": width}
    return row | region | {"positive": True, "target": target}


def _region(moment: ClothMoment, view: View, text: str) -> tuple[str, Bool[np.ndarray, "h w"]]:
    """What an instruction points to at a moment, and the pixels that show it."""
    cloth = view.objects == CLOTH
    picked = cloth & (view.parts == FIRST_CORNER + (moment.hold.corner if moment.hold else 0))
    others = cloth & (view.parts >= FIRST_CORNER) & ~picked
    if text == TASK:
        if moment.held or moment.released:
            return BOX_NAME, view.objects == BOX
        return CORNER, picked | others
    if text == HELD:
        return HELD_CORNER, picked & moment.held
    return CORNER, others if moment.held or moment.released else picked | others


def _shows(view: View, pixel: Float[np.ndarray, "2"], corner: int) -> bool:
    """Whether a pixel next to a corner's place shows this corner of the cloth."""
    height, width = view.objects.shape
    x, y = int(np.floor(pixel[0])), int(np.floor(pixel[1]))
    if not (0 <= x < width and 0 <= y < height):
        return False
    near = (slice(max(y - 1, 0), y + 2), slice(max(x - 1, 0), x + 2))
    return bool(((view.objects[near] == CLOTH) & (view.parts[near] == FIRST_CORNER + corner)).any())
