"""A converted CeDiRNet as one module: maps out of images, points out of maps."""

import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ....pipeline.errors import WeightsError
from .convert import CONFIG, DETECTOR, KIND, LOCALISER
from .localiser import HANDMADE_SCORE, LEARNED_SCORE, HandmadeLocaliser, Localiser, Points, find_peaks
from .network import CeDiRNetDetector, DetectorShape


class CeDiRNet(nn.Module):
    """Detector and localiser, frozen.

    Args:
        detector: images to maps.
        localiser: maps to a response; None takes the one made by hand.
    """

    def __init__(self, detector: CeDiRNetDetector, localiser: Localiser | None = None) -> None:
        super().__init__()
        self.detector = detector
        self.localiser: Localiser | HandmadeLocaliser = HandmadeLocaliser() if localiser is None else localiser
        self.least_score = HANDMADE_SCORE if localiser is None else LEARNED_SCORE

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 6 h w"]:
        """Six raw maps of RGB in [0, 1]; sides are multiples of 32."""
        maps: Tensor = self.detector(image)
        return maps

    @torch.inference_mode()
    def decode(self, maps: Float[Tensor, "b 6 h w"], *, least_score: float | None = None) -> list[Points]:
        """The points of every image, best first.

        Args:
            maps: as :meth:`forward` gives them.
            least_score: keep points above it; None is 0.75 for the learned localiser, 0.1 for the one made by hand.
        """
        least = self.least_score if least_score is None else least_score
        return find_peaks(self.localiser(maps), self.localiser.gaussian_blur, maps, least)


def load(directory: str | Path) -> CeDiRNet:
    """A converted checkpoint, in eval mode, without gradients.

    Raises:
        WeightsError: the folder holds no converted CeDiRNet, or its tensors do not fit.
    """
    folder = Path(directory)
    shape, has_localiser = read_shape(folder)
    localiser = Localiser() if has_localiser else None
    model = CeDiRNet(CeDiRNetDetector(shape), localiser)
    _fill(model.detector, folder / DETECTOR)
    if localiser is not None:
        _fill(localiser, folder / LOCALISER)
    return model.eval().requires_grad_(False)


def read_shape(folder: Path) -> tuple[DetectorShape, bool]:
    """What ``config.json`` says: the detector, and whether there is a learned localiser. No weights are read.

    Raises:
        WeightsError: there is none, or it is of something else.
    """
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text())
        said = config["detector"]
        shape = DetectorShape(
            tuple(said["dims"]), tuple(said["depths"]), int(said["in_channels"]), tuple(said["heads"])
        )
        if config["kind"] != KIND:
            raise ValueError(f"kind {config['kind']!r}")
        return shape, bool(config["localiser"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{folder} holds no converted CeDiRNet",
            found=f"{type(error).__name__}: {error}",
            expected=f"{CONFIG} and {DETECTOR}",
            remedy="make them with `vtt weights convert-cedirnet FILE --out DIR`",
        ) from error


def _fill(module: nn.Module, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        module.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"{path} does not fit its {CONFIG}", found=str(error)[:500]) from error
