"""Between host and device, through page-locked memory, so that copies overlap with what the device computes."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor


def to_device(
    frames: Sequence[UInt8[np.ndarray, "_ _ 3"]], device: torch.device
) -> Sequence[UInt8[np.ndarray, "_ _ 3"]] | Sequence[UInt8[Tensor, "_ _ 3"]]:
    """Frames where they are preprocessed: as they are for the CPU; of one size, one asynchronous copy to a GPU."""
    if device.type != "cuda" or len({frame.shape for frame in frames}) != 1:
        return frames
    pinned = torch.empty((len(frames), *frames[0].shape), dtype=torch.uint8, pin_memory=True)
    np.stack(frames, out=pinned.numpy())
    return list(pinned.to(device, non_blocking=True))


def to_host(tensor: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """The tensor on the host; from a GPU it is on its way until an :class:`Arrival` made later has been waited for."""
    if tensor.device.type != "cuda":
        return tensor.cpu()
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


class Arrival:
    """The moment at which everything started on a device so far is done."""

    def __init__(self, device: torch.device) -> None:
        self._event = torch.cuda.Event() if device.type == "cuda" else None
        if self._event is not None:
            self._event.record(torch.cuda.current_stream(device))

    def wait(self) -> None:
        """Wait for it."""
        if self._event is not None:
            self._event.synchronize()
