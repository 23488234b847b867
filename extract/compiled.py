"""A backbone through ``torch.compile``: the same features up to rounding, checked before the first is kept."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..pipeline.errors import MachineError
from ..pipeline.spec import FeatureSpec
from .backbones.base import Backbone, FrameBatch

TOLERANCE = {"bf16": 0.05, "fp32": 1e-3}
"""Norm of the difference over the norm, per compute type."""


class CompiledBackbone:
    """Compiles a backbone's two steps; the first call of each also runs uncompiled and must agree.

    Args:
        backbone: loaded.

    Raises:
        MachineError: on the first call, if the compiler fails here or its numbers are others.
    """

    specs: tuple[FeatureSpec, ...]
    device: torch.device

    def __init__(self, backbone: Backbone) -> None:
        self.specs, self.device, self._plain = backbone.specs, backbone.device, backbone
        self._frames: Callable[..., FrameBatch] = torch.compile(backbone.encode_frames)
        self._queries: Callable[..., Mapping[str, Tensor]] = torch.compile(backbone.encode_queries)
        self._checked: set[str] = set()

    def encode_frames(self, pixels: Float[Tensor, "b 3 h w"]) -> FrameBatch:
        """As the backbone's own."""
        found = _compiled(lambda: self._frames(pixels))
        if "frames" not in self._checked:
            plain = self._plain.encode_frames(pixels)
            self._agree({**found.features, **_state(found)}, {**plain.features, **_state(plain)})
            self._checked.add("frames")
        return found

    def encode_queries(self, state: Float[Tensor, "q ..."], instructions: Sequence[str]) -> Mapping[str, Tensor]:
        """As the backbone's own."""
        found = _compiled(lambda: self._queries(state, instructions))
        if "queries" not in self._checked:
            self._agree(found, self._plain.encode_queries(state, instructions))
            self._checked.add("queries")
        return found

    def _agree(self, found: Mapping[str, Tensor], plain: Mapping[str, Tensor]) -> None:
        limit = max(TOLERANCE[str(spec.compute.get("dtype", "bf16"))] for spec in self.specs)
        for name, values in plain.items():
            error = torch.linalg.vector_norm((found[name] - values).float()) / torch.linalg.vector_norm(values.float())
            if not error <= limit:
                raise MachineError(
                    f"the compiled backbone makes other numbers ({name})",
                    found=f"relative difference {error:.2g}",
                    expected=f"at most {limit:g}",
                    remedy="leave --compile out",
                )


def _compiled[T](run: Callable[[], T]) -> T:
    from torch._dynamo.exc import TorchDynamoException

    try:
        return run()
    except TorchDynamoException as error:
        raise MachineError(
            "torch.compile fails here", found=str(error).strip().splitlines()[0], remedy="leave --compile out"
        ) from error


def _state(batch: FrameBatch) -> dict[str, Tensor]:
    return {} if batch.state is None else {"state": batch.state}
