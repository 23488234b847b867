"""What there is, by name: literal tables that import nothing until a name is asked for.

One file and one line here add a backbone, a task or a head.
"""

import importlib
from collections.abc import Mapping
from typing import Any, Literal

from .config import nearest
from .errors import ConfigError

Kind = Literal["backbone", "task", "head"]

BACKBONES = {
    "xvla": "visual_thought.extract.backbones.xvla:XVLA",
    "davit": "visual_thought.extract.backbones.davit:DAVIT",
    "dinov2": "visual_thought.extract.backbones.dinov2:DINOV2",
    "cedirnet": "visual_thought.extract.backbones.cedirnet.backbone:CEDIRNET",
    "xvla-attention": "visual_thought.extract.backbones.attention_xvla:XVLA_ATTENTION",
    "qwen-attention": "visual_thought.extract.backbones.attention_qwen:QWEN_ATTENTION",
}

TASKS = {
    "distill": "visual_thought.train.tasks.distill:DistillTask",
    "dense": "visual_thought.train.tasks.dense:DenseTask",
    "ground": "visual_thought.train.tasks.ground:GroundTask",
}

HEADS = {
    "ground": "visual_thought.train.heads.ground:GroundingHead",
}

MADE_BY = {
    "z": "xvla",
    "r": "xvla",
    "e": "dinov2",
    "y": "cedirnet",
    "q": "xvla-attention",
    "k": "xvla-attention",
    "v": "xvla-attention",
    "s": "xvla-attention",
    "w": "xvla-attention",
}
"""Feature names -> the backbone that makes them, for whoever reads a store and misses one."""

TABLES: Mapping[Kind, Mapping[str, str]] = {"backbone": BACKBONES, "task": TASKS, "head": HEADS}


def load(kind: Kind, name: str) -> Any:
    """Import what a name stands for.

    Raises:
        ConfigError: there is no such name (the known ones are listed).
    """
    table = TABLES[kind]
    if name not in table:
        meant = nearest(name, list(table))
        raise ConfigError(
            f"there is no {kind} {name!r}",
            expected=sorted(table),
            remedy=f"did you mean {meant!r}?" if meant else None,
        )
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
