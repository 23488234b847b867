"""All figures of one run: those that can be drawn as files, those that cannot with the reason."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ...pipeline.errors import VisualThoughtError
from ...train.journal import read_journal
from ..report import RunReport
from .missing import NoFigure
from .training import draw_training, training_curves


@dataclass(frozen=True)
class Page:
    """One figure that may be drawn: its file's name without ending, and what draws it into a file."""

    name: str
    draw: Callable[[Path], Path]


@dataclass(frozen=True)
class Missing:
    """A figure that could not be drawn, why, and what to do about it."""

    name: str
    why: str
    remedy: str | None


@dataclass(frozen=True)
class Book:
    """What became of the figures asked for, in order."""

    drawn: tuple[Path, ...] = ()
    missing: tuple[Missing, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence a reason, naming the figures that it cost."""
        reasons: dict[tuple[str, str | None], list[str]] = {}
        for one in self.missing:
            reasons.setdefault((one.why, one.remedy), []).append(one.name.replace("_", " "))
        return tuple(
            f"no picture of {', '.join(names)}: {why}" + (f" ({remedy})" if remedy else "")
            for (why, remedy), names in reasons.items()
        )


def draw_book(pages: Iterable[Page], folder: Path) -> Book:
    """Draw each page that can be drawn; one that cannot costs no other."""
    drawn, missing = list[Path](), list[Missing]()
    for page in pages:
        try:
            drawn.append(page.draw(folder / f"{page.name}.png"))
        except VisualThoughtError as error:
            missing.append(Missing(page.name, error.problem, error.remedy))
    return Book(tuple(drawn), tuple(missing))


def where_from(run: RunReport) -> str:
    """What every caption says: judged on what, which run and checkpoint."""
    where = f"{run.split.capitalize()} split of {run.dataset}."
    return f"{where} Run {run.run}, checkpoint {run.checkpoint} (step {run.step})."


def training_page(run: RunReport, metric: str, *, higher_is_better: bool) -> Page:
    """The training curves of a run folder; ``metric`` chose its best checkpoint."""

    def draw(path: Path) -> Path:
        try:
            curves = training_curves(read_journal(run.path), metric, higher_is_better=higher_is_better)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            found = f"{type(error).__name__}: {error}"
            raise NoFigure("training", "the run's log is damaged", found=found) from error
        caption = f"Run {run.run}. The diamond marks the best validation of the head."
        return draw_training(curves, path, title="Training", caption=caption, simulated=run.simulated)

    return Page("training", draw)
