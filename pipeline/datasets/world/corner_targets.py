"""What CeDiRNet's maps should say of an image, and how much each pixel counts.

Center Direction Network for Grasping Point Localization on Cloths (IEEE RA-L 2024): every pixel points to the nearest
visible corner.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

HALF_SQUARE, BLIND = 15, 3  # px: half a side of a corner's own square; round a corner directions are not asked


class CornerTargets(NamedTuple):
    """``maps`` (b, 5, h, w): sin, cos, log10(R + 1), and the orientation of the nearest corner as dx/|d|, dy/|d|;
    ``weights`` (b, h, w) of the pixels, 1 in sum for an image with corners and 0 elsewhere; ``near`` (b, h, w) inside a
    corner's square; ``blind`` (b, h, w) too near to a corner to ask for a direction."""

    maps: Float[Tensor, "b 5 h w"]
    weights: Float[Tensor, "b h w"]
    near: Bool[Tensor, "b h w"]
    blind: Bool[Tensor, "b h w"]


def corner_targets(
    corners: Float[Tensor, "b k 2"], inward: Float[Tensor, "b k 2"], visible: Bool[Tensor, "b k"], size: tuple[int, int]
) -> CornerTargets:
    """Targets at every pixel of (height, width) = ``size``.

    sin = (x_c - x) / R, cos = (y_c - y) / R, radius = log10(R + 1), with the nearest visible corner (x_c, y_c) at
    distance R; at the corner itself sin = 0, cos = 1. Weights: 1 / (2 N n_i) in the square of corner i, which holds
    n_i pixels nearest to it, N corners having any; 1 / (2 N_bg) elsewhere.

    Args:
        corners: (x, y) in pixel indices; they may lie outside the image.
        inward: a point behind each corner; d = corner - inward.
        visible: which corners count.
        size: of the maps.
    """
    height, width = size
    y = torch.arange(height, device=corners.device)[:, None].expand(size)
    x = torch.arange(width, device=corners.device)[None, :].expand(size)
    dx = corners[:, :, 0, None, None] - x  # (b, k, h, w)
    dy = corners[:, :, 1, None, None] - y
    away = torch.hypot(dx, dy).masked_fill(~visible[:, :, None, None], torch.inf)
    r, nearest = away.min(dim=1, keepdim=True)  # (b, 1, h, w)
    dx, dy = dx.gather(1, nearest)[:, 0], dy.gather(1, nearest)[:, 0]
    r = r[:, 0].nan_to_num(posinf=0.0)
    heading = torch.nn.functional.normalize(corners - inward, dim=2)  # (b, k, 2)
    turn = [heading[:, :, axis, None, None].expand(-1, -1, *size).gather(1, nearest)[:, 0] for axis in (0, 1)]
    safe = r.clamp(min=1e-6)
    cos = torch.where(r == 0, torch.ones_like(dy), dy / safe)
    maps = torch.stack([dx / safe, cos, torch.log10(r + 1), *turn], dim=1)
    near = (dx.abs() <= HALF_SQUARE) & (dy.abs() <= HALF_SQUARE) & visible.any(dim=1)[:, None, None]
    blind = (dx.abs() < BLIND) & (dy.abs() < BLIND)
    return CornerTargets(maps, _weights(near, nearest[:, 0], visible), near, blind)


def corner_loss(maps: Float[Tensor, "b 6 h w"], targets: CornerTargets) -> dict[str, Tensor]:
    """Weighted L1 of the directions and the radius everywhere, of the orientation inside the squares; mean by image."""
    error = (maps[:, :5] - targets.maps).abs()  # (b, 5, h, w)
    asked = targets.weights * ~targets.blind
    count = max(len(maps), 1)
    return {
        "direction": (error[:, :2].sum(1) * asked).sum() / count,
        "radius": (error[:, 2] * asked).sum() / count,
        "orientation": (error[:, 3:].sum(1) * targets.weights * targets.near).sum() / count,
    }


def corner_peaks(
    corners: Float[Tensor, "b k 2"], visible: Bool[Tensor, "b k"], size: tuple[int, int], *, sigma_px: float
) -> Float[Tensor, "b 1 h w"]:
    """What a localiser should answer: 1 at every visible corner, falling off as a Gaussian."""
    y, x = torch.arange(size[0])[:, None], torch.arange(size[1])[None, :]
    square = (corners[:, :, 0, None, None] - x) ** 2 + (corners[:, :, 1, None, None] - y) ** 2
    peaks = torch.exp(-square / (2 * sigma_px**2)) * visible[:, :, None, None]
    return peaks.amax(dim=1, keepdim=True)


def _weights(near: Bool[Tensor, "b h w"], nearest: Tensor, visible: Bool[Tensor, "b k"]) -> Float[Tensor, "b h w"]:
    count = visible.shape[1]
    own = torch.stack([near & (nearest == k) for k in range(count)], dim=1)  # (b, k, h, w)
    inside = own.sum(dim=(2, 3)).clamp(min=1)  # (b, k)
    instances = (own.sum(dim=(2, 3)) > 0).sum(dim=1).clamp(min=1)  # (b,)
    outside = (~near).sum(dim=(1, 2)).clamp(min=1)
    weights = (own / (2 * instances[:, None] * inside)[:, :, None, None]).sum(dim=1)
    weights = weights + ~near / (2 * outside)[:, None, None]
    return weights * visible.any(dim=1)[:, None, None]
