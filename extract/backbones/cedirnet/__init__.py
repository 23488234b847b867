"""CeDiRNet-3DoF: dense direction maps and the points they vote for.

``load(directory)`` gives a network from images to maps, whose ``decode`` gives points; ``CeDiRNet`` is its class. Both
are imported when they are asked for, so that describing a checkpoint's features needs no network.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .model import CeDiRNet, load

__all__ = ["CeDiRNet", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import model

    return getattr(model, name)
