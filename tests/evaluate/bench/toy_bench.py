"""Features so small that a bench of them takes a moment; what is measured means nothing, how it is measured does."""

from visual_thought.evaluate.bench import footprint, reading, stalling
from visual_thought.evaluate.bench.features import FORMATS, fill, simulate

SHAPES = {"z": (3, 4), "r": (2, 2, 4)}
ROWS = 160  # two parts


def make_short(patch):
    """Let nobody take longer than a few batches, and steps and rows be few."""
    patch.setattr(reading, "SHARE", 0.001)
    patch.setattr(stalling, "STEPS", 10)
    patch.setattr(footprint, "ROWS", (256, 2560))


def some_features(folder):
    """Simulated features as .npy files and in a store of each format."""
    folder.mkdir()
    features = simulate(folder, ROWS, SHAPES)
    for store_format in FORMATS:
        fill(features, store_format)
    return features
