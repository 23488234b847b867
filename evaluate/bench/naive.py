"""What one writes first: LeRobot's ``dataset[i]`` in batches, a forward, one zarr-python write a batch."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import zarr
from jaxtyping import Float
from torch import Tensor

from ...extract.backbones.base import Backbone
from ...pipeline.datasets.source import LeRobotSource
from ...pipeline.spec import FeatureSpec


def naive_loop(source: LeRobotSource, backbone: Backbone, *, frames: int, batch_size: int) -> Callable[[Path], None]:
    """The loop over the first frames of a dataset, every camera; call it with a new folder.

    Args:
        source: the dataset, whole.
        backbone: the very network that the extraction uses, called the same way.
        frames: frames to run, over all cameras; a multiple of the cameras.
        batch_size: frames a batch.
    """
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset(source.repo_id, root=source.root)
    keys = list(source.cameras.values())
    steps = frames // len(keys)

    def run(folder: Path) -> None:
        arrays = _arrays(folder, backbone.specs, frames)
        written = 0
        for start in range(0, steps, batch_size):
            items = [dataset[index] for index in range(start, min(start + batch_size, steps))]
            for key in keys:
                pixels = _normalised(torch.stack([item[key] for item in items]), backbone)
                values = _forward(backbone, pixels, [item["task"] for item in items])
                for name, tensor in values.items():
                    arrays[name][written : written + len(items)] = tensor.half().cpu().numpy()
                written += len(items)

    return run


def _arrays(folder: Path, specs: tuple[FeatureSpec, ...], rows: int) -> Mapping[str, Any]:
    return {
        spec.name: zarr.create_array(
            folder / f"{spec.name}.zarr", shape=(rows, *spec.shape), chunks=(1, *spec.shape), dtype="float16"
        )
        for spec in specs
    }


@torch.inference_mode()
def _forward(backbone: Backbone, pixels: Float[Tensor, "b 3 h w"], tasks: list[str]) -> dict[str, Tensor]:
    features, state = backbone.encode_frames(pixels)
    queries = {} if state is None else backbone.encode_queries(state, tasks)
    return {**features, **queries}


def _normalised(images: Float[Tensor, "b 3 h w"], backbone: Backbone) -> Float[Tensor, "b 3 height width"]:
    image = backbone.specs[0].image
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (image.mean, image.std))
    scaled = torch.nn.functional.interpolate((images - mean) / std, (image.height, image.width), mode="bilinear")
    return scaled.to(backbone.device)
