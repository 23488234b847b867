"""DINOv2 through transformers' own classes: patch tokens, with class token and registers if asked for.

DINOv2: Learning Robust Visual Features without Supervision (arXiv 2304.07193); registers: Vision Transformers Need
Registers (arXiv 2309.16588). Positions at other input sizes are interpolated as transformers does.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...pipeline.errors import WeightsError
from ...pipeline.spec import FeatureSpec
from .base import BackboneKind, FrameBatch
from .dinov2_spec import CHECKPOINT, FEATURES, OPTIONS, TAPS, WEIGHTS, describe, read_model
from .frozen import Precision
from .tensors import fill, require_same_names, tensor_names
from .weights import find_file

__all__ = ["DINOV2", "DINOv2Backbone", "describe", "load"]

_MASK = "embeddings.mask_token"  # for training on masked images
_HEAD = "classifier."  # of a checkpoint that was trained further


class DINOv2Backbone:
    """A frozen DINOv2 on one device.

    Args:
        model: transformers' Dinov2Model or Dinov2WithRegistersModel.
        specs: the feature ``e``; its ``compute`` says which tokens, before or after the last norm, and in which type.
    """

    def __init__(self, model: nn.Module, specs: Sequence[FeatureSpec], *, device: torch.device) -> None:
        self.specs, self.device = tuple(specs), device
        compute = specs[0].compute
        self._final, self._tokens = compute["tap"] == TAPS["final"], compute["tokens"]
        self._precision = Precision(specs, device)
        self.model: Any = model
        self._precision.freeze(model)

    @torch.inference_mode()
    def encode_tokens(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n d"]:
        """The tokens asked for, float32: class token, registers, patches row-major."""
        with self._precision.autocast():
            tokens = self.model.encoder(self.model.embeddings(pixels)).last_hidden_state  # (b, 1 + registers + p, d)
            if self._final:
                tokens = self.model.layernorm(tokens)
        first, cells = tokens[:, :1], self.specs[0].layout.cells
        registers, patches = tokens[:, 1:-cells], tokens[:, -cells:]
        kept = [first] * self._tokens["cls"] + [registers] * self._tokens["registers"] + [patches]
        return torch.cat(kept, dim=1).float()

    def encode_frames(self, pixels: Float[Tensor, "b 3 h w"]) -> FrameBatch:
        """E of a batch of frames; queries need nothing of them."""
        return FrameBatch({"e": self.encode_tokens(pixels)}, None)

    def encode_queries(
        self,
        state: Float[Tensor, "q ..."],  # noqa: ARG002 - nothing here belongs to queries
        instructions: Sequence[str],  # noqa: ARG002
    ) -> Mapping[str, Tensor]:
        """Nothing: E belongs to frames."""
        return {}


def load(
    checkpoint: str,
    specs: Sequence[FeatureSpec],
    *,
    device: torch.device,
    revision: str | None = None,
    hub_cache: Path | None = None,
) -> DINOv2Backbone:
    """Load a DINOv2 with transformers' own loading code, from safetensors alone.

    Raises:
        WeightsError: files are missing, or the weights do not fit the configuration.
    """
    kind = read_model(checkpoint, revision=revision, hub_cache=hub_cache)["model_type"]
    find_file(checkpoint, "config.json", revision=revision, hub_cache=hub_cache)
    folder = find_file(checkpoint, WEIGHTS, revision=revision, hub_cache=hub_cache).parent
    return DINOv2Backbone(_load_model(folder, registers=kind == "dinov2_with_registers"), specs, device=device)


DINOV2 = BackboneKind(describe=describe, load=load, features=FEATURES, options=OPTIONS, checkpoint=CHECKPOINT)


def _load_model(folder: Path, *, registers: bool) -> nn.Module:
    from safetensors import SafetensorError
    from transformers import AutoConfig, Dinov2Model, Dinov2WithRegistersModel

    kind: Any = Dinov2WithRegistersModel if registers else Dinov2Model
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, attn_implementation="sdpa")
        with torch.device("meta"):
            model = kind(config)
        model.embeddings.mask_token = None
        names = _names_in_file(folder / WEIGHTS, f"{kind.base_model_prefix}.")
        require_same_names(set(names), set(model.state_dict()))
        fill(model, folder / WEIGHTS, names)
        return model
    except (OSError, RuntimeError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise WeightsError(
            f"the weights in {folder} do not fit their configuration",
            found=str(error)[:1000],
            expected=f"the {WEIGHTS} that {kind.__name__}.save_pretrained wrote beside this config.json",
            remedy="fetch or copy the checkpoint again",
        ) from error


def _names_in_file(path: Path, prefix: str) -> dict[str, str]:
    """Name in the model -> name in the file, which a classifier's file prefixes."""
    names = {name.removeprefix(prefix): name for name in tensor_names(path) if not name.startswith(_HEAD)}
    names.pop(_MASK, None)
    return names
