"""Run against the built wheel from a directory that is not the checkout: `python -P smoke_wheel.py SITE_PREFIX`."""

import importlib.util
import sys
from pathlib import Path

prefix = Path(sys.argv[1]).resolve()

import visual_thought  # noqa: E402

home = Path(visual_thought.__file__).resolve()
assert prefix in home.parents, f"imported from {home}, not from the wheel under {prefix}"
for name in visual_thought.__all__:
    assert getattr(visual_thought, name) is not None, name
for name in ("pipeline", "extract", "train"):
    assert importlib.util.find_spec(name) is None, f"the wheel ships a top-level {name}"
for name in ("py.typed", "train/recipes/ground.yaml", "data_manifests/tabletop_cubes.yaml"):
    assert (home.parent / name).is_file(), f"the wheel lacks {name}"
assert (home.parent / "pipeline/datasets/world/weights/xvla.safetensors").is_file(), "the wheel lacks its weights"

from visual_thought.pipeline.cli import run  # noqa: E402

assert run(["--help"]) == 0
print("the wheel works")
