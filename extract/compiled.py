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
    """Compiles what runs once a frame; its first call also runs uncompiled, and must agree.

    What runs once a query stays as it is: tokenizing breaks its graph, and Inductor refuses tensors of inference mode
    that come from outside a graph.

    Args:
        backbone: loaded.
    """

    specs: tuple[FeatureSpec, ...]
    device: torch.device

    def __init__(self, backbone: Backbone) -> None:
        self.specs, self.device, self._plain = backbone.specs, backbone.device, backbone
        self._frames: Callable[[Tensor], FrameBatch] = torch.compile(backbone.encode_frames)
        self._checked = False

    def encode_frames(self, pixels: Float[Tensor, "b 3 h w"]) -> FrameBatch:
        """As the backbone's own.

        Raises:
            MachineError: the compiler fails here, or its numbers are others.
        """
        found = _compiled(lambda: self._frames(pixels))
        if not self._checked:
            self._require_same(found, self._plain.encode_frames(pixels))
            self._checked = True
        return found

    def encode_queries(self, state: Float[Tensor, "q ..."], instructions: Sequence[str]) -> Mapping[str, Tensor]:
        """The backbone's own."""
        return self._plain.encode_queries(state, instructions)

    def _require_same(self, found: FrameBatch, plain: FrameBatch) -> None:
        limit = max(TOLERANCE[str(spec.compute.get("dtype", "bf16"))] for spec in self.specs)
        for name, values in _tensors(plain).items():
            difference = torch.linalg.vector_norm((_tensors(found)[name] - values).float())
            error = float(difference / torch.linalg.vector_norm(values.float()))
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
        said = " ".join(str(error).split()[:40])
        raise MachineError("torch.compile fails here", found=said, remedy="leave --compile out") from error


def _tensors(batch: FrameBatch) -> dict[str, Tensor]:
    return {**batch.features, **({} if batch.state is None else {"state": batch.state})}
