"""What a converted CeDiRNet's config.json says; needs no torch."""

from dataclasses import dataclass
from typing import Any

from ....pipeline.errors import WeightsError
from .files import CONFIG, DETECTOR, KIND

STRIDE = 32  # height and width of an input are multiples of it
CHANNELS = 6


@dataclass(frozen=True)
class DetectorShape:
    """What distinguishes one detector from another.

    Args:
        dims: channels of the encoder's four stages (B: 128, 256, 512, 1024).
        depths: blocks of the four stages (B and L: 3, 3, 27, 3).
        in_channels: 3 for RGB; 4 for RGB and depth, which is not normalised.
        heads: output channels of the two heads.
        widths: channels of the pyramid, of its branches, and of the heads before their last convolution.
    """

    dims: tuple[int, int, int, int] = (128, 256, 512, 1024)
    depths: tuple[int, int, int, int] = (3, 3, 27, 3)
    in_channels: int = 3
    heads: tuple[int, int] = (4, 2)
    widths: tuple[int, int, int] = (256, 128, 64)


def shape_of(config: Any, checkpoint: object) -> tuple[DetectorShape, bool]:
    """The detector that a parsed ``config.json`` describes, and whether there is a learned localiser.

    Raises:
        WeightsError: it is of something else.
    """
    try:
        said = config["detector"]
        if config["kind"] != KIND:
            raise ValueError(f"kind {config['kind']!r}")
        dims, depths, heads, widths = (tuple(map(int, said[key])) for key in ("dims", "depths", "heads", "widths"))
        if (len(dims), len(depths), len(heads), len(widths)) != (4, 4, 2, 3):
            raise ValueError(f"{len(dims)} dims, {len(depths)} depths, {len(heads)} heads, {len(widths)} widths")
        shape = DetectorShape(dims, depths, int(said["in_channels"]), heads, widths)  # type: ignore[arg-type]
        return shape, bool(config["localiser"])
    except (ValueError, KeyError, TypeError) as error:
        raise no_cedirnet(checkpoint, error) from error


def no_cedirnet(checkpoint: object, error: Exception) -> WeightsError:
    """The one error for a place that holds no converted CeDiRNet."""
    return WeightsError(
        f"{checkpoint} holds no converted CeDiRNet",
        found=f"{type(error).__name__}: {error}",
        expected=f"{CONFIG} and {DETECTOR}",
        remedy="make them with `vtt weights convert-cedirnet FILE --out DIR`",
    )
