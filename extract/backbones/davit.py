"""R without text: the vision tower of an X-VLA checkpoint, up to R's stage.

DaViT (arXiv 2204.03645) as Florence-2 and X-VLA use it. The same numbers as X-VLA's R under the same fingerprint, so
that a store filled by one serves the other; neither the language encoder, nor the action transformer, nor the tower's
last stage is built or read from disk.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import JsonValue
from torch import Tensor, nn

from ...pipeline.errors import WeightsError
from ...pipeline.spec import FeatureSpec, Resize, Tier
from . import xvla_spec
from .base import BackboneKind, FrameBatch
from .frozen import Precision, channels_last
from .options import read_options, require_features
from .tensors import fill, require_same_names, tensor_names
from .weights import find_file
from .xvla_spec import STAGE, WEIGHTS, read_config

FEATURES = ("r",)
_PREFIX = "model.vlm.vision_tower."


class DaViTBackbone:
    """The first stages of a frozen DaViT on one device.

    Args:
        tower: transformers' Florence2VisionBackbone without the stages after R's.
        specs: the feature ``r``; its ``compute["dtype"]`` is the compute type.
    """

    def __init__(self, tower: nn.Module, specs: Sequence[FeatureSpec], *, device: torch.device) -> None:
        self.specs, self.device, self.tower = tuple(specs), device, tower
        self._precision = Precision(specs, device)
        self._precision.freeze(tower)

    @torch.inference_mode()
    def encode_map(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b gh gw c"]:
        """R, float32: the residual stream after the last block that is left."""
        with self._precision.autocast():
            return channels_last(self.tower(pixels).last_hidden_state)

    def encode_frames(self, pixels: Float[Tensor, "b 3 h w"]) -> FrameBatch:
        """R of a batch of frames; queries need nothing of them."""
        return FrameBatch({"r": self.encode_map(pixels)}, None)

    def encode_queries(
        self,
        state: Float[Tensor, "q ..."],  # noqa: ARG002 - nothing here belongs to queries
        instructions: Sequence[str],  # noqa: ARG002
    ) -> Mapping[str, Tensor]:
        """Nothing: R belongs to frames."""
        return {}


def describe(
    checkpoint: str,
    *,
    features: Sequence[str] = FEATURES,
    dtype: Tier = "bf16",
    resize: Resize | None = None,
    image_size: tuple[int, int] | None = None,
    frame_size: tuple[int, int] | None = None,
    options: Mapping[str, JsonValue] | None = None,
    revision: str | None = None,
    hash_cache: Path | None = None,
    hub_cache: Path | None = None,
) -> tuple[FeatureSpec, ...]:
    """Declare R of an X-VLA checkpoint: what :func:`.xvla_spec.describe` says of it.

    Raises:
        WeightsError: files are missing, or contradict each other.
        ConfigError: an unknown feature or option, or an impossible image size.
    """
    require_features("DaViT", FEATURES, features)
    read_options("DaViT", {}, options)
    return xvla_spec.describe(
        checkpoint,
        features=features,
        dtype=dtype,
        resize=resize,
        image_size=image_size,
        frame_size=frame_size,
        revision=revision,
        hash_cache=hash_cache,
        hub_cache=hub_cache,
    )


def load(
    checkpoint: str,
    specs: Sequence[FeatureSpec],
    *,
    device: torch.device,
    revision: str | None = None,
    hub_cache: Path | None = None,
) -> DaViTBackbone:
    """Load the vision tower out of an X-VLA checkpoint, up to R's stage.

    Raises:
        WeightsError: files are missing, or the tower's weights do not fit the configuration.
    """
    read_config(checkpoint, revision=revision, hub_cache=hub_cache)
    folder = find_file(checkpoint, WEIGHTS, revision=revision, hub_cache=hub_cache).parent
    return DaViTBackbone(_load_tower(folder), specs, device=device)


DAVIT = BackboneKind(describe=describe, load=load, features=FEATURES, checkpoint=xvla_spec.CHECKPOINT)


def _load_tower(folder: Path) -> nn.Module:
    from lerobot.configs import PreTrainedConfig
    from lerobot.policies.xvla import modeling_xvla  # noqa: F401 - registers the policy's configuration
    from safetensors import SafetensorError
    from transformers.models.florence2.modeling_florence2 import Florence2VisionBackbone

    try:
        vision = PreTrainedConfig.from_pretrained(folder).get_florence_config().vision_config
        with torch.device("meta"):
            tower: Any = Florence2VisionBackbone(vision)
        names = _names_in_file(folder / WEIGHTS)
        require_same_names(set(names), set(tower.state_dict()))
        tower.convs, tower.blocks = tower.convs[: STAGE + 1], tower.blocks[: STAGE + 1]
        fill(tower, folder / WEIGHTS, names)
        return tower
    except (OSError, RuntimeError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise WeightsError(
            f"the weights in {folder} do not fit their configuration",
            found=str(error)[:1000],
            expected="the file that XVLAPolicy.save_pretrained wrote beside this config.json",
            remedy="fetch or copy the checkpoint again",
        ) from error


def _names_in_file(path: Path) -> dict[str, str]:
    """Name in the tower -> name in the file, through LeRobot's own renaming of the original layout."""
    from lerobot.policies.xvla.modeling_xvla import (
        _is_vendored_florence_state_dict,
        _remap_vendored_florence_state_dict,
    )

    every = tensor_names(path)
    kept: dict[str, Any] = {name: name for name in every if name.startswith(_PREFIX)}
    if _is_vendored_florence_state_dict(dict.fromkeys(every)):
        kept = _remap_vendored_florence_state_dict(kept)
    return {name.removeprefix(_PREFIX): original for name, original in kept.items()}
