"""The state of an optimiser as flat tensors, for a safetensors file, and back."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..pipeline.errors import WeightsError
from .bounds import Shape, read_header, shapes_of
from .optimizer import named_trainable


def moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as flat tensors, ``<moment>/<parameter name>``."""
    return {
        f"{moment}/{name}": value
        for name, parameter in named_trainable(model)
        for moment, value in optimizer.state[parameter].items()
    }


def set_moments(model: nn.Module, optimizer: torch.optim.Optimizer, flat: Mapping[str, Tensor]) -> None:
    """The inverse of :func:`moments`."""
    for name, parameter in named_trainable(model):
        for key, value in flat.items():
            moment, _, owner = key.partition("/")
            if owner == name:
                optimizer.state[parameter][moment] = value.to(parameter.device)


def moment_shapes(file: Path, model: nn.Module) -> dict[str, Shape]:
    """The moments in a file, each as its parameter is, or a single number; WeightsError for any other."""
    parameters = shapes_of(dict(named_trainable(model)))
    found = read_header(file)
    expected = {}
    for name, shape in found.items():
        moment, _, owner = name.partition("/")
        if owner not in parameters or not moment.isidentifier() or shape.shape not in ((), parameters[owner].shape):
            raise WeightsError(f"{file} holds the state of another optimiser", found=f"{name} {list(shape.shape)}")
        expected[name] = shape
    return expected
