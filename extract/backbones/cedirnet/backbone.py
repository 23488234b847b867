"""CeDiRNet as a frozen backbone: dense maps of frames, the teacher's side of dense map reconstruction.

The network takes RGB in [0, 1] and normalises inside, so its ImageSpec has mean 0 and standard deviation 1.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ....pipeline.spec import FeatureSpec
from ..base import BackboneKind, FrameBatch
from ..frozen import Precision
from ..weights import find_file
from .files import CONFIG, DETECTOR
from .spec import FEATURES, OPTIONS, describe, read_detector

if TYPE_CHECKING:
    from .network import CeDiRNetDetector

__all__ = ["CEDIRNET", "CeDiRNetBackbone", "describe", "load"]


class CeDiRNetBackbone:
    """A frozen CeDiRNet detector on one device.

    Args:
        detector: images to six maps.
        specs: the feature ``y``; its ``compute`` says which channels, how far pooled, and in which type.
    """

    def __init__(self, detector: "CeDiRNetDetector", specs: Sequence[FeatureSpec], *, device: torch.device) -> None:
        self.specs, self.device, self.detector = tuple(specs), device, detector
        self._channels: list[int] = list(specs[0].compute["channels"])
        self._pool: int = specs[0].compute["pool"]
        self._precision = Precision(specs, device)
        self._precision.freeze(detector)

    @torch.inference_mode()
    def encode_maps(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c gh gw"]:
        """The channels asked for, float32; each number the mean of ``pool`` x ``pool`` pixels."""
        with self._precision.autocast():
            maps = self.detector(image)[:, self._channels]  # (b, c, h, w)
        return functional.avg_pool2d(maps.float(), self._pool) if self._pool > 1 else maps.float()

    def encode_frames(self, pixels: Float[Tensor, "b 3 h w"]) -> FrameBatch:
        """Y of a batch of frames; queries need nothing of them."""
        return FrameBatch({"y": self.encode_maps(pixels)}, None)

    def encode_queries(
        self,
        state: Float[Tensor, "q ..."],  # noqa: ARG002 - nothing here belongs to queries
        instructions: Sequence[str],  # noqa: ARG002
    ) -> Mapping[str, Tensor]:
        """Nothing: Y belongs to frames."""
        return {}


def load(
    checkpoint: str,
    specs: Sequence[FeatureSpec],
    *,
    device: torch.device,
    revision: str | None = None,
    hub_cache: Path | None = None,
) -> CeDiRNetBackbone:
    """Load a converted CeDiRNet's detector; its localiser is not needed for maps.

    Raises:
        WeightsError: files are missing, or the weights do not fit the configuration.
    """
    from .model import load_detector

    shape = read_detector(checkpoint, revision=revision, hub_cache=hub_cache)
    find_file(checkpoint, CONFIG, revision=revision, hub_cache=hub_cache)
    path = find_file(checkpoint, DETECTOR, revision=revision, hub_cache=hub_cache)
    return CeDiRNetBackbone(load_detector(shape, path), specs, device=device)


CEDIRNET = BackboneKind(describe=describe, load=load, features=FEATURES, options=OPTIONS)
