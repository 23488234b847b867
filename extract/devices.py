"""The device that a config names."""

import torch

from ..pipeline.errors import ConfigError, MachineError


def find_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is CUDA if there is one. Raises ConfigError or MachineError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"there is no kind of device {name!r}", expected=("auto", "cpu", "cuda", "cuda:1")) from error
    count = torch.cuda.device_count()
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and (device.index or 0) >= count):
        raise MachineError(
            f"this machine has no device {name}",
            found=["cpu", *(f"cuda:{index} ({torch.cuda.get_device_name(index)})" for index in range(count))],
            remedy="choose one of these, or auto",
        )
    return device
