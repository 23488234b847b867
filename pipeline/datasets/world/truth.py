"""The one rule by which any (frame, instruction) pair is labelled; it depends only on what is in view.

Nothing held and the named cube visible: positive on that cube, whatever the episode's own task. The named cube held,
or just released: positive on the white box. Another cube held, or the named cube (or the box) not visible: negative.
"""

from typing import Any

import numpy as np
from jaxtyping import UInt8

from ..masks import encode_rle, innermost_pixel
from .episode import Moment
from .language import BOX as BOX_NAME
from .language import COLOURS, instruction
from .render import BOX, CUBE_OBJECT, OBJECTS

VISIBLE = 1 / 1280  # smallest share of the frame that counts as seen: 60 pixels of 320x240


def label_rows(moment: Moment, objects: UInt8[np.ndarray, "h w"]) -> list[dict[str, Any]]:
    """One label row (without episode, frame and camera) for each colour's instruction."""
    return [_label_row(moment, objects, colour) for colour in COLOURS]


def target_of(moment: Moment, colour: str) -> int | None:
    """The object that an instruction about ``colour`` points to at this moment, or None; visibility aside."""
    if colour in (moment.held, moment.released):
        return BOX
    if moment.held is not None:
        return None
    return CUBE_OBJECT[colour] if colour in moment.cubes else None


def _label_row(moment: Moment, objects: UInt8[np.ndarray, "h w"], colour: str) -> dict[str, Any]:
    target = target_of(moment, colour)
    row = {"instruction": instruction(colour), "phase": moment.phase, "target": "", "positive": False}
    if target is None:
        return row
    mask = objects == target
    if mask.sum() < VISIBLE * mask.size:
        return row
    x, y = innermost_pixel(mask)
    height, width = mask.shape
    region = {"point_x": x, "point_y": y, "mask": encode_rle(mask), "mask_height": height, "mask_width": width}
    return row | region | {"positive": True, "target": BOX_NAME if target == BOX else OBJECTS[target]}
