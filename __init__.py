"""Visual Thought: what does a frozen vision-language-action model already know?

The public names below load on first use, so that ``import visual_thought`` costs nothing (PEP 562).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .pipeline.store import FeatureStore
    from .train.decoder import VisualThoughtDecoder
    from .train.heads.dense import DenseHead
    from .train.heads.ground import GroundingHead
    from .train.loaded import load_run

__version__ = "0.1.0"

__all__ = ["DenseHead", "FeatureStore", "GroundingHead", "VisualThoughtDecoder", "load_run"]

_HOMES = {
    "FeatureStore": "pipeline.store",
    "VisualThoughtDecoder": "train.decoder",
    "DenseHead": "train.heads.dense",
    "GroundingHead": "train.heads.ground",
    "load_run": "train.loaded",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
