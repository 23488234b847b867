"""A report's picture files as figures: headings, captions, and words for those who cannot see them."""

from pathlib import Path

from ..report import RunReport
from .content import Figure
from .results import words

FAILURES = ("failures",)
"""Pictures that belong to the failures."""
LOG = "training"
"""The picture that shows no split, but what training said."""
PICTURES = {
    "training": (
        "Training",
        "Two charts over the steps of training: the loss of head and controls on the training split, and the metric "
        "that chose the best checkpoint on the validation split, with the best step of the head marked.",
    ),
    "threshold_sweep": (
        "Cell decisions by threshold",
        "Two charts by decision threshold: precision, recall and F 0.25 of the head; F 0.25 of the head and its "
        "controls. The threshold in use is marked.",
    ),
    "precision_recall": (
        "Precision against recall, and calibration",
        "Two charts: precision over recall of the head and its controls with the place of the threshold in use; the "
        "share of relevant cells by score of the head, with the number of cells behind it.",
    ),
    "grounding_two_views": (
        "One moment before the grasp, every camera",
        "The same moment from every camera, each frame with the head's cell scores, refined sub-cell, predicted point "
        "and the target's true region.",
    ),
    "grounding_before_after": (
        "Before and after the grasp",
        "One execution before and after its grasp, each frame with the head's cell scores, predicted point and the "
        "target's true region.",
    ),
    "grounding_two_executions": (
        "Two executions after the grasp",
        "A frame of each of two episodes after the grasp, with the head's cell scores, predicted point and the "
        "target's true region.",
    ),
    "grounding_typical": (
        "A typical positive and a typical negative",
        "The positive and the negative row of median score, with the head's cell scores and predicted points.",
    ),
    "filmstrip": (
        "One execution from beginning to end",
        "Frames of one execution with the head's cell scores above a chart over its frames: the highest score on the "
        "object that is taken, and on the place where it goes, with the moment of the grasp marked.",
    ),
    "failures": (
        "The worst answers",
        "Frames of the worst false positives and the worst false negatives, each with the head's cell scores, what was "
        "asked, what the head said and what is true.",
    ),
    "tokens": (
        "Expert tokens, predicted",
        "A row a frame: the frame, the expert's tokens and the head's prediction of them, the tokens coloured by the "
        "same three principal components, with cosine and mean squared error.",
    ),
    "maps": (
        "Dense maps and their corners",
        "Frames with the corners decoded from the teacher's maps and from the predicted ones; for every channel the "
        "teacher's map, the head's and their difference.",
    ),
}
"""Pictures by the name of their file: their heading, and what there is to see."""


def figure_of(run: RunReport, out: Path, name: str) -> Figure:
    """A picture file of a run, ``name`` within the report's folder ``out``."""
    stem = Path(name).stem
    usual = words(stem).capitalize(), "A picture whose words and numbers are drawn into it."
    title, alt = PICTURES.get(stem, usual)
    origin = f"Log of {run.run}, trained on {run.dataset}." if stem == LOG else _judged(run)
    return Figure(title, out / name, origin, f"{alt} {origin}")


def is_failure(name: str) -> bool:
    """Whether a picture file belongs to the failures."""
    return Path(name).stem in FAILURES


def _judged(run: RunReport) -> str:
    where = f"{run.split.capitalize()} split of {run.dataset}"
    return f"{where}; checkpoint {run.checkpoint} of {run.run}, step {run.step:,}."
