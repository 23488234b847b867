"""A converted CeDiRNet as one module: maps out of images, points out of maps."""

import json
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ....pipeline.errors import WeightsError
from .files import CONFIG, DETECTOR, LOCALISER
from .localiser import HANDMADE_SCORE, LEARNED_SCORE, HandmadeLocaliser, Localiser, Points, find_peaks
from .network import CeDiRNetDetector
from .shape import DetectorShape, no_cedirnet, shape_of


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
    localiser = None
    if has_localiser:
        with torch.random.fork_rng(devices=[]):
            localiser = Localiser()
        _fill(localiser, folder / LOCALISER)
    model = CeDiRNet(load_detector(shape, folder / DETECTOR), localiser)
    return model.eval().requires_grad_(False)


def load_detector(shape: DetectorShape, path: Path) -> CeDiRNetDetector:
    """A detector with the weights of a safetensors file; WeightsError if they do not fit."""
    with torch.random.fork_rng(devices=[]):  # building the network draws initial weights
        detector = CeDiRNetDetector(shape)
    _fill(detector, path)
    return detector


def read_shape(folder: Path) -> tuple[DetectorShape, bool]:
    """What ``config.json`` says: the detector, and whether there is a learned localiser. No weights are read.

    Raises:
        WeightsError: there is none, or it is of something else.
    """
    try:
        return shape_of(json.loads((folder / CONFIG).read_text()), folder)
    except (OSError, ValueError) as error:
        raise no_cedirnet(folder, error) from error


def _fill(module: nn.Module, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        module.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"{path} does not fit its {CONFIG}",
            found=str(error)[:500],
            expected="what `vtt weights convert-cedirnet` wrote beside it",
            remedy="convert the published file again",
        ) from error
