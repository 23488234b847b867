"""What every backbone does with its network: no training, no gradients, and one rule for bf16.

bf16 is autocast, so that norms, softmax and sums keep the precision PyTorch gives them; the weights that autocast
would round at every call (linear and convolution layers) are rounded once instead: same numbers, half the memory.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ...pipeline.spec import FeatureSpec


class Precision:
    """The compute type of a network on one device.

    Args:
        specs: the features it makes; ``compute["dtype"]`` says fp32 or bf16.
        device: where it runs.
    """

    def __init__(self, specs: Sequence[FeatureSpec], device: torch.device) -> None:
        self._half, self._device = any(spec.compute["dtype"] == "bf16" for spec in specs), device

    def freeze(self, module: nn.Module) -> None:
        """Evaluation mode, no gradients, weights rounded if the compute type is bf16, moved to the device."""
        module.eval().requires_grad_(False)
        if self._half:
            _round_weights(module)
        module.to(self._device)

    def autocast(self) -> torch.autocast:
        """The context every forward runs in; does nothing for fp32."""
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._half)


@contextmanager
def output_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what a module returns while the context is open."""
    outputs: list[Tensor] = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


def channels_last(maps: Tensor) -> Tensor:
    """(b, c, h, w) of any precision to (b, h, w, c), float32."""
    return maps.permute(0, 2, 3, 1).float().contiguous()


def _round_weights(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            layer.to(torch.bfloat16)
