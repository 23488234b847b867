"""A figure that cannot be drawn, and why; a report says so in its place."""

from ...pipeline.errors import VisualThoughtError


class NoFigure(VisualThoughtError):
    """A figure lacks what it would show: features, frames, labels or a log.

    Args:
        figure: the figure's name, as its file would be called.
        problem: what is missing; ``found``, ``expected`` and ``remedy`` as for every error.
    """

    def __init__(
        self, figure: str, problem: str, *, found: object = None, expected: object = None, remedy: str | None = None
    ) -> None:
        super().__init__(problem, found=found, expected=expected, remedy=remedy)
        self.figure = figure
