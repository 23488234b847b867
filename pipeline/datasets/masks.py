"""Regions of an image as run lengths, and their innermost pixel.

A run-length string holds COCO's *uncompressed* counts as text: lengths of the runs of equal pixels, read down the
columns from left to right, separated by single spaces, beginning with the run of zeros (which may be 0). The mask
``[[0, 1], [1, 1]]`` is ``"1 3"``.
"""

import math

import numpy as np
from jaxtyping import Bool, Int

from ..errors import ManifestError


def encode_rle(mask: Bool[np.ndarray, "h w"]) -> str:
    """The run-length string of a mask."""
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    changes = np.flatnonzero(np.diff(flat, prepend=False))  # where a run ends, the first one being zeros
    return " ".join(map(str, np.diff(changes, prepend=0, append=flat.size).tolist()))


def decode_rle(runs: str, height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """The mask of a run-length string; raises ManifestError if the runs do not fill height x width."""
    counts = parse_runs(runs, height * width)
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape((height, width), order="F")


def parse_runs(runs: str, size: int) -> Int[np.ndarray, " runs"]:
    """The lengths of the runs, zeros first.

    Raises:
        ManifestError: not whole numbers, an empty run after the first, or a sum that is not ``size`` pixels.
    """
    try:
        counts = np.array(runs.split(" "), dtype=np.int64)
    except (ValueError, OverflowError):
        raise ManifestError(
            "a mask's runs are not whole numbers", found=runs[:60], expected="such as `12 3 40`"
        ) from None
    if counts[0] < 0 or (counts[1:] <= 0).any() or counts.max() > size or counts.sum() != size:
        raise ManifestError(
            "a mask's runs do not fill the image",
            found=f"{len(counts)} runs, {counts.sum()} pixels, shortest {counts.min()}",
            expected=f"{size} pixels; only the first run may be 0",
        )
    return counts


def contains(runs: Int[np.ndarray, " runs"], height: int, width: int, point: tuple[float, float]) -> bool:
    """Whether a point (x, y), in pixels, lies in the region of these runs; beyond the image it does not."""
    column, row = math.floor(point[0]), math.floor(point[1])
    if not (0 <= column < width and 0 <= row < height):
        return False
    return bool(np.searchsorted(np.cumsum(runs), column * height + row, side="right") % 2)


def occupied_columns(runs: Int[np.ndarray, " runs"], height: int) -> tuple[int, Bool[np.ndarray, "columns h"]]:
    """The first image column that the region touches, and its columns from there to the last, transposed.

    Costs what the region is wide, not what the image is. The region must not be empty.
    """
    first = int(runs[0]) // height
    end = int(runs.sum() - (runs[-1] if len(runs) % 2 else 0))
    runs = runs.copy()
    runs[0] -= first * height
    if len(runs) % 2:
        runs[-1] = -end % height
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    if len(runs) % 2 == 0:
        flat = np.pad(flat, (0, -end % height))
    return first, flat.reshape(-1, height)


def innermost_pixel(mask: Bool[np.ndarray, "h w"]) -> tuple[float, float]:
    """Centre (x, y) of the region's pixel that lies farthest from the region's border, in pixels.

    Exact: the largest Euclidean distance to a pixel outside the region, where everything beyond the image is outside.
    Of equally deep pixels the first in row-major order. A box rim's centroid lies outside of it; this never does.

    Raises:
        ManifestError: an empty region.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        raise ManifestError("an empty region has no innermost pixel")
    top, left = rows[0], columns[0]
    region = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1)  # the ring stands for all that is outside
    row, column = np.unravel_index(squared_distances(region).argmax(), region.shape)
    return float(left + column - 1 + 0.5), float(top + row - 1 + 0.5)


def squared_distances(region: Bool[np.ndarray, "h w"]) -> Int[np.ndarray, "h w"]:
    """Squared Euclidean distance from every pixel to the nearest False pixel (one must exist), exact.

    Separable: first down the columns, g = distance to the nearest False above or below; then along the rows,
    d²(x) = min over x' of g²(x') + (x - x')². An offset whose square exceeds the largest distance cannot lower one.
    """
    result = _column_distances(region) ** 2
    columns = result.copy()
    for offset in range(1, region.shape[1]):
        if offset**2 >= result.max():
            break
        np.minimum(result[:, offset:], columns[:, :-offset] + offset**2, out=result[:, offset:])
        np.minimum(result[:, :-offset], columns[:, offset:] + offset**2, out=result[:, :-offset])
    return result


def _column_distances(region: Bool[np.ndarray, "h w"]) -> Int[np.ndarray, "h w"]:
    height, width = region.shape
    distances = np.where(region, height + width, 0).astype(np.int64)
    for row in range(1, height):
        np.minimum(distances[row], distances[row - 1] + 1, out=distances[row])
    for row in range(height - 2, -1, -1):
        np.minimum(distances[row], distances[row + 1] + 1, out=distances[row])
    return distances
