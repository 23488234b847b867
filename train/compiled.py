"""The training loss through ``torch.compile``."""

from collections.abc import Callable

import torch
from torch import nn

from ..pipeline.errors import MachineError
from .loader import Batch
from .objectives.terms import Term

type Terms = Callable[[nn.Module, Batch, int], dict[str, Term]]
"""Model, batch, step -> the terms of its loss; a task's ``terms``."""


def compile_terms(terms: Terms) -> Terms:
    """The same function, compiled at its first call; models stay as they are, and so do the names of their weights.

    What the compiler cannot express, such as choosing the positive rows, breaks the graph and runs as it is. The
    function it returns raises MachineError where the compiler fails.
    """
    compiled: Terms = torch.compile(terms)

    def run(model: nn.Module, batch: Batch, step: int) -> dict[str, Term]:
        from torch._dynamo.exc import TorchDynamoException

        try:
            return compiled(model, batch, step)
        except TorchDynamoException as error:
            said = " ".join(str(error).split()[:40])
            raise MachineError(
                "torch.compile fails here", found=said, remedy="set compile=false, or install a C++ compiler"
            ) from error

    return run
