"""Weights from a safetensors file into a network built on the meta device: nothing is drawn, nothing held twice."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn


def tensor_names(path: Path) -> list[str]:
    """The names of a file's tensors, read from its header alone; SafetensorError if it is cut or none."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def require_same_names(found: set[str], expected: set[str]) -> None:
    """Raise ValueError naming tensors a network misses or does not know."""
    if missing := sorted(expected - found):
        raise ValueError(f"{len(missing)} tensors are missing, the first is {missing[0]}")
    if extra := sorted(found - expected):
        raise ValueError(f"{len(extra)} tensors are too many, the first is {extra[0]}")


def fill(network: nn.Module, path: Path, names: Mapping[str, str]) -> None:
    """Give a network on the meta device its weights, as float32; other tensors of the file are not read.

    Args:
        network: what to fill, all of it.
        path: a safetensors file.
        names: name in the network -> name in the file.

    Raises:
        KeyError: a tensor of the network has no name in the file.
        RuntimeError: a tensor has another shape.
        SafetensorError: the file is damaged.
    """
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(names[name]).to(torch.float32, copy=True) for name in network.state_dict()}
    network.load_state_dict(tensors, assign=True)
