"""How many numbers a head has to train, from the announcement of its checkpoint: no tensor is read."""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MEASURED = ("scale.",)
"""Tensors in a checkpoint that were measured on the training targets, not trained."""
CLOSED_FORM = ("target_mean", "centre_prior")
"""Contenders without anything to train."""
LARGEST = 1 << 24


def sizes(run_dir: Path, contender: str = "head") -> dict[str, int]:
    """Trained numbers of a contender: ``all``, ``head`` and ``decoder``; nothing where no checkpoint can be read.

    A head's tensors are named ``…head.…``; what a task predicts without a head is all decoder.
    """
    name = "model.safetensors" if contender == "head" else f"controls/{contender}.safetensors"
    if contender in CLOSED_FORM:
        return {"all": 0, "decoder": 0, "head": 0}
    for place in ("last", "best", ""):
        shapes = _announced(run_dir / place / name)
        if shapes:
            counts = {key: math.prod(shape) for key, shape in shapes.items() if not key.startswith(MEASURED)}
            head = sum(count for key, count in counts.items() if "head" in key.split(".")[:2])
            total = sum(counts.values())
            return {"all": total, "decoder": total - head, "head": head}
    return {}


def _announced(path: Path) -> Mapping[str, tuple[int, ...]]:
    """Tensor names and shapes of a safetensors file; nothing if it is none."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header: Any = json.loads(file.read(length)) if length <= LARGEST else {}
        return {name: tuple(map(int, said["shape"])) for name, said in header.items() if name != "__metadata__"}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, struct.error):
        return {}
