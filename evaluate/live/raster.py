"""Frame and cell scores as pixels: what :func:`~..figures.panel.draw_panel` shows of them, many times as fast."""

import itertools

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch.nn import functional

from ..figures.canvas import HEAT
from ..figures.panel import Panel
from .features import Picture

BLOCKS = 3  # enlarged so many times, or a whole number of times, pixels stay blocks


def paint(panel: Panel, size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
    """The frame of a panel under its heat, (height, width) pixels large."""
    planes = _resize(panel.frame, size)
    rows = _pixels(panel.row_edges, panel.frame.shape[0], size[0])
    columns = _pixels(panel.column_edges, panel.frame.shape[1], size[1])
    colours = HEAT(panel.scores)  # (rows, columns, 4)
    for row, down in enumerate(rows):
        for column, across in enumerate(columns):
            _tint(planes[:, down, across], colours[row, column])
    return np.moveaxis(planes, 0, -1)


def _resize(frame: Picture, size: tuple[int, int]) -> UInt8[np.ndarray, "3 height width"]:
    factors = [new / old for new, old in zip(size, frame.shape[:2], strict=True)]
    planes = np.ascontiguousarray(np.moveaxis(frame, -1, 0))
    if all(factor >= BLOCKS or factor.is_integer() for factor in factors):
        down, across = (
            ((np.arange(new) + 0.5) / factor).astype(int) for new, factor in zip(size, factors, strict=True)
        )
        return planes[:, down].take(across, axis=2)
    return functional.interpolate(torch.from_numpy(planes)[None], size=size, mode="bilinear", antialias=True)[0].numpy()


def _pixels(edges: Float[np.ndarray, " e"], length: int, pixels: int) -> list[slice]:
    """Where cells lie that are between ``edges``, in the frame's pixels; what is outside the frame is cut off."""
    places = np.clip(np.rint(edges * pixels / length), 0, pixels).astype(int).tolist()
    return [slice(start, stop) for start, stop in itertools.pairwise(places)]


def _tint(block: UInt8[np.ndarray, "3 h w"], colour: Float[np.ndarray, " 4"]) -> None:
    """Lay a colour with its alpha over a block, in place."""
    opacity = round(256 * colour[3])
    if opacity:
        added = np.rint(255 * opacity * colour[:3] + 128).astype(np.uint16)[:, None, None]
        block[...] = (block * np.uint16(256 - opacity) + added) >> 8
