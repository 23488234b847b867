"""What dense maps are for: corner points, decoded from predicted and from the teacher's maps by the same decoder."""

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ...pipeline.corners import HANDMADE_SCORE, HandmadeLocaliser, find_peaks
from ...pipeline.geometry import FrameGeometry
from ...pipeline.metrics.points import PointScores, match_pairs
from ...pipeline.spec import FeatureSpec

SIN, COS, DX, DY = 0, 1, 3, 4  # CeDiRNet's channels
COUNTS = ("found", "teacher", "hits", "turn", "true", "true_hits", "teacher_hits")

type Corners = tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]
"""The points of one image, best first: (x, y) in pixels of the original frame, and their angles in radians."""


class CornerDecoder:
    """The hand-made localiser on maps as they are stored; what was pooled is interpolated to the input's size first.

    Args:
        spec: of the maps; its ``compute`` says which channels they hold.
        least_score: points with a response above it are kept.
    """

    def __init__(self, spec: FeatureSpec, least_score: float = HANDMADE_SCORE) -> None:
        self._image, self._localiser, self._least = spec.image, HandmadeLocaliser(), least_score
        self._places = {channel: place for place, channel in enumerate(spec.compute.get("channels", ()))}

    @property
    def works(self) -> bool:
        """Whether the maps hold the directions that points are read from."""
        return {SIN, COS} <= set(self._places)

    @property
    def turns(self) -> bool:
        """Whether the maps hold the corners' orientation."""
        return {DX, DY} <= set(self._places)

    def __call__(self, maps: Float[Tensor, "b c h w"], sizes: Int[np.ndarray, "b 2"]) -> list[Corners]:
        """The points of every image; ``sizes`` are the (height, width) of the original frames."""
        size = (self._image.height, self._image.width)
        known = self._in_order(maps.float())
        known = known if known.shape[2:] == size else F.interpolate(known, size=size, mode="bilinear")
        localiser = self._localiser.to(maps.device)
        peaks = find_peaks(localiser(known), localiser.gaussian_blur, known, self._least)
        return [
            (
                FrameGeometry.of(self._image, int(height), int(width)).to_frame(points.xy.double().cpu().numpy() + 0.5),
                points.angle.double().cpu().numpy(),
            )
            for points, (height, width) in zip(peaks, sizes, strict=True)
        ]

    def _in_order(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        """The maps under CeDiRNet's own numbers, as far as decoding looks at them."""
        wanted = (SIN, COS, None, DX, DY) if self.turns else (SIN, COS)
        nothing = torch.zeros_like(maps[:, 0])
        return torch.stack([nothing if one is None else maps[:, self._places[one]] for one in wanted], dim=1)


def count_corners(
    found: Corners, teacher: Corners, true: Float[np.ndarray, "k 2"] | None, *, within_px: float
) -> dict[str, float]:
    """What one image adds to the sums of :data:`COUNTS`; ``turn`` is the angle between matched corners, in radians.

    Args:
        found: from the predicted maps.
        teacher: from the teacher's maps.
        true: visible corners in pixels of the frame, NaN in rows that are none; None where nobody knows them.
        within_px: how near a point must be, in pixels of the frame.
    """
    pairs = match_pairs(found[0], teacher[0], within_px=within_px)
    turn = np.abs(np.angle(np.exp(1j * (found[1][pairs[:, 0]] - teacher[1][pairs[:, 1]])))).sum()
    counts = {"found": len(found[0]), "teacher": len(teacher[0]), "hits": len(pairs), "turn": float(turn)}
    if true is None:
        return counts
    there = true[np.isfinite(true).all(axis=1)]
    hits, taught = (len(match_pairs(points, there, within_px=within_px)) for points, _ in (found, teacher))
    return counts | {"true": len(there), "true_hits": hits, "teacher_hits": taught}


def corner_metrics(sums: Mapping[str, float], *, turns: bool) -> dict[str, float]:
    """Precision, recall and F1 from the sums over images.

    ``corner_*`` against the teacher's points; where true corners are known, ``true_corner_*`` against them, and
    ``teacher_true_corner_f1``, the teacher's own score; ``corner_angle_deg``, the mean angle between a found corner and
    the teacher's it matches.
    """
    scores = PointScores(int(sums["hits"]), int(sums["found"]), int(sums["teacher"]))
    metrics = _named("corner", scores)
    if turns:
        metrics["corner_angle_deg"] = math.degrees(sums["turn"] / scores.hits) if scores.hits else float("nan")
    if "true" in sums:
        there = int(sums["true"])
        metrics |= _named("true_corner", PointScores(int(sums["true_hits"]), int(sums["found"]), there))
        metrics["teacher_true_corner_f1"] = PointScores(int(sums["teacher_hits"]), int(sums["teacher"]), there).f1
    return metrics


def _named(name: str, scores: PointScores) -> dict[str, float]:
    return {f"{name}_{part}": getattr(scores, part) for part in ("precision", "recall", "f1")}
