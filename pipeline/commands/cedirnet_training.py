"""The embedded CeDiRNet: drawn scenes, trained networks, the authors' files, and what the converter makes of them."""

import os
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from ..datasets.world.corner_training import CornerConfig, Decode

DIMS, DEPTHS, WIDTHS = (32, 64, 128, 256), (1, 1, 2, 1), (64, 64, 32)
TRAIN_SCENES, LOCALISER_SCENES, HELD_OUT_SCENES = 560, 160, 100
CALIBRATION = 120  # views of the localiser's that choose its scale
DETECTOR_FILE, LOCALISER_FILE = "ConvNext-narrow-RGB.pth", "localization_checkpoint.pth"


@dataclass(frozen=True)
class Trained:
    """Both networks, what was logged on the way (numpy scalars), and the threshold that suits the localiser."""

    detector: "nn.Module"
    localiser: "nn.Module"
    log: dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How many random scenes (two views each) are drawn for the detector, the localiser and the scores."""

    train: int = TRAIN_SCENES
    localiser: int = LOCALISER_SCENES
    held_out: int = HELD_OUT_SCENES


def write_cedirnet(
    out: Path, *, pretrained: bool, seed: int, config: "CornerConfig", sizes: Sizes | None = None, workers: int = 2
) -> dict[str, Any]:
    """Train a narrow CeDiRNet on random cloth scenes, save it as its authors do, and convert those files.

    Args:
        out: a new folder: ``config.json``, ``model.safetensors``, ``localiser.safetensors``, and the authors' two
            files under ``published/``. It appears once all of it is there.
        pretrained: whether to train; False converts the untrained networks.
        seed: of scenes, weights and batches.
        config: how long each part is trained.
        sizes: how many scenes are drawn.
        workers: processes that draw them; 0 draws in this one.

    Returns:
        Precision, recall and F1 at 10 px on held-out scenes, of the converted files; seconds and CPU seconds by part.

    Raises:
        ConfigError: the folder holds something already.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already", expected="a new folder", remedy="choose another --out")
    sizes, clock = sizes or Sizes(), Stopwatch()
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.parent / f".{out.name}.{uuid.uuid4().hex[:8]}.partial"
    partial.mkdir()
    try:
        trained = _train(config, sizes, seed, workers, clock) if pretrained else untrained(seed)
        published = partial / "published"
        save_published(published, trained)
        _convert(published, partial / "converted")
        shutil.move(published, partial / "converted" / "published")
        scores = _score(partial / "converted", sizes, seed, workers, clock) if pretrained else {}
        os.rename(partial / "converted", out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return {"pretrained": pretrained, **scores, "seconds": clock.wall, "cpu_seconds": clock.cpu}


def save_published(folder: Path, trained: Trained) -> None:
    """The authors' two files: the detector's, whose localiser lacks its running statistics, and the localiser's."""
    import torch

    folder.mkdir(parents=True)
    centre = {f"module.instance_center_estimator.{k}": v for k, v in trained.localiser.state_dict().items()}
    detector = {f"module.{k}": v.contiguous() for k, v in trained.detector.state_dict().items()}
    common: dict[str, Any] = {"optim_state_dict": {}, "criterion_state_dict": {}, "center_optim_state_dict": {}}
    common |= {"epoch": 1, "logger_data": trained.log}
    bare = {k: v for k, v in centre.items() if "running_" not in k and "num_batches" not in k}
    torch.save(common | {"model_state_dict": detector, "center_model_state_dict": bare}, folder / DETECTOR_FILE)
    torch.save(common | {"model_state_dict": {}, "center_model_state_dict": centre}, folder / LOCALISER_FILE)


class Stopwatch:
    """Wall and CPU seconds by part."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}
        self._last = (time.perf_counter(), _cpu_seconds())

    def stop(self, part: str) -> None:
        """Book the time since the last stop under a part."""
        now = (time.perf_counter(), _cpu_seconds())
        self.wall[part] = round(now[0] - self._last[0], 1)
        self.cpu[part] = round(now[1] - self._last[1], 1)
        self._last = now


def _cpu_seconds() -> float:
    """Of this process and of the children that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _networks(seed: int) -> tuple["nn.Module", "nn.Module"]:
    import torch

    from ...extract.backbones.cedirnet.localiser import Localiser
    from ...extract.backbones.cedirnet.network import CeDiRNetDetector, DetectorShape

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CeDiRNetDetector(DetectorShape(DIMS, DEPTHS, widths=WIDTHS)).eval(), Localiser().eval()


def untrained(seed: int) -> Trained:
    """Both networks with fresh weights."""
    detector, localiser = _networks(seed)
    return Trained(detector, localiser, {})


def _train(config: "CornerConfig", sizes: Sizes, seed: int, workers: int, clock: Stopwatch) -> Trained:
    """Detector, then localiser on scenes of its own, then the localiser's scale."""
    import numpy as np

    from ...extract.backbones.cedirnet.localiser import LEARNED_SCORE
    from ..datasets.world.corner_scenes import draw_views
    from ..datasets.world.corner_training import (
        LEAST,
        best_threshold,
        find_corners,
        predict,
        train_detector,
        train_localiser,
    )

    detector, localiser = _networks(seed)
    views = draw_views(sizes.train, seed=3 * seed, workers=workers)
    others = draw_views(sizes.localiser, seed=3 * seed + 1, workers=workers)
    clock.stop("draw")
    losses = train_detector(detector, views, config)
    clock.stop("detector")
    maps, kept = predict(detector, others), slice(0, max(len(others) - CALIBRATION, len(others) // 2))
    answers = train_localiser(localiser, maps[kept], others.take(kept), config)
    rest = slice(kept.stop, len(others))
    least = best_threshold(find_corners(_decoder(localiser), maps[rest], LEAST), others.take(rest))
    _rescale(localiser, LEARNED_SCORE / least)
    clock.stop("localiser")
    log = {"loss": [np.float64(x) for x in losses], "localiser": [np.float64(x) for x in answers]}
    return Trained(detector, localiser, log | {"threshold": np.float64(least)})


def _decoder(localiser: "nn.Module") -> "Decode":
    """From maps to points, through the extraction's own peaks."""
    import torch

    from ...extract.backbones.cedirnet.localiser import find_peaks

    @torch.inference_mode()
    def decode(maps: Any, least: float) -> Any:
        found = find_peaks(localiser(maps), localiser.gaussian_blur, maps, least)  # type: ignore[arg-type]
        return [torch.cat([points.xy, points.score[:, None]], dim=1).numpy() for points in found]

    return decode


def _rescale(localiser: "nn.Module", factor: float) -> None:
    """Multiply the response, so that the decoding's fixed threshold meets what the best one was."""
    import torch

    with torch.no_grad():
        for value in localiser.get_submodule("conv_merge_fn").parameters():
            value.mul_(factor)


def _convert(published: Path, out: Path) -> None:
    from ...extract.backbones.cedirnet.convert import convert

    convert(published / DETECTOR_FILE, out, localiser=published / LOCALISER_FILE)


def _score(folder: Path, sizes: Sizes, seed: int, workers: int, clock: Stopwatch) -> dict[str, Any]:
    """Of the converted files, on scenes that nothing was trained on."""
    from ...extract.backbones import cedirnet
    from ..datasets.world.corner_scenes import draw_views
    from ..datasets.world.corner_training import WITHIN_PX, find_corners, predict, score_corners

    held_out = draw_views(sizes.held_out, seed=3 * seed + 2, workers=workers)
    model = cedirnet.load(folder)
    scores = score_corners(
        find_corners(_decoder(model.localiser), predict(model, held_out), model.least_score), held_out
    )
    clock.stop("score")
    return {
        "corner_f1": round(scores.f1, 4),
        "corner_precision": round(scores.precision, 4),
        "corner_recall": round(scores.recall, 4),
        "within_px": WITHIN_PX,
        "image_size": list(held_out.images.shape[2:]),
        "held_out_images": len(held_out),
        "held_out_corners": scores.true,
    }
