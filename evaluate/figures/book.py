"""All figures of one run: those that can be drawn as files, those that cannot with the reason."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ...pipeline.errors import VisualThoughtError
from ...train.journal import read_journal
from ..pictures import Frames, Shown
from ..rows import Answers
from .curves import draw_curves
from .filmstrip import draw_filmstrip
from .gallery import draw_gallery
from .maps import draw_maps
from .missing import NoFigure
from .opened import RULE, OpenRun, choose_frames
from .scenes_dense import map_scenes
from .scenes_distill import token_scenes
from .scenes_ground import (
    FILM_RULE,
    GALLERY_RULE,
    choose_execution,
    failures,
    film,
    head_calibration,
    head_curve,
)
from .tokens import draw_tokens
from .training import draw_training, training_curves

TOKEN_ROWS, MAP_ROWS = 4, 2


@dataclass(frozen=True)
class Origin:
    """What every caption says: which run and checkpoint, judged on what."""

    run: str
    checkpoint: str
    step: int
    split: str
    dataset: str
    simulated: bool

    @property
    def caption(self) -> str:
        """A sentence or two."""
        where = f"{self.split.capitalize()} split of {self.dataset}."
        return f"{where} Run {self.run}, checkpoint {self.checkpoint} (step {self.step})."


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

    drawn: tuple[Path, ...]
    missing: tuple[Missing, ...]


def draw_book(pages: Iterable[Page], folder: Path) -> Book:
    """Draw each page that can be drawn; one that cannot costs no other."""
    drawn, missing = list[Path](), list[Missing]()
    for page in pages:
        try:
            drawn.append(page.draw(folder / f"{page.name}.png"))
        except VisualThoughtError as error:
            missing.append(Missing(page.name, error.problem, error.remedy))
    return Book(tuple(drawn), tuple(missing))


def training_page(run_dir: Path, origin: Origin, metric: str, *, higher_is_better: bool) -> Page:
    """The training curves of a run folder; ``metric`` chose its best checkpoint."""

    def draw(path: Path) -> Path:
        curves = training_curves(read_journal(run_dir), metric, higher_is_better=higher_is_better)
        caption = f"Run {origin.run}. The diamond marks the best validation of the head."
        return draw_training(curves, path, title="Training", caption=caption, simulated=origin.simulated)

    return Page("training", draw)


def token_page(run: OpenRun, frames: Frames, origin: Origin) -> Page:
    """The triptych of a distillation run."""

    def draw(path: Path) -> Path:
        scenes = token_scenes(run, choose_frames(run, origin.split, TOKEN_ROWS), frames)
        caption = f"{origin.caption} Colours: three principal components of the expert's tokens of these frames, "
        caption += f"for the prediction too. Shown by rule: {RULE}."
        title = "The expert's tokens, read out of the policy's"
        return draw_tokens(scenes, path, title=title, caption=caption, simulated=origin.simulated)

    return Page("tokens", draw)


def map_page(run: OpenRun, frames: Frames, origin: Origin) -> Page:
    """The maps of a dense run."""

    def draw(path: Path) -> Path:
        scenes = map_scenes(run, choose_frames(run, origin.split, MAP_ROWS), frames)
        caption = f"{origin.caption} Corners of both are decoded in the same way. Shown by rule: {RULE}."
        title = "The teacher's maps, read out of the policy's tokens"
        return draw_maps(scenes, path, title=title, caption=caption, simulated=origin.simulated)

    return Page("maps", draw)


def ground_pages(
    shown: Shown,
    contenders: Mapping[str, Answers],
    thresholds: Mapping[str, float],
    frames: Frames,
    origin: Origin,
) -> tuple[Page, ...]:
    """Filmstrip, failures and curves of a grounding run.

    Args:
        shown: the split's rows with the head's answers.
        contenders: the answers of head and controls, the head first.
        thresholds: the decision threshold of each.
        frames: the pictures.
        origin: for the captions.
    """
    threshold = thresholds["head"]

    def draw_film(path: Path) -> Path:
        execution = choose_execution(shown.rows)
        row = int(execution.rows[0])
        place = f"Episode {shown.rows.episode[row]}, {shown.rows.camera[row]} camera."
        caption = f"{origin.caption} {place} Labels say where an object is only while it is relevant; at other "
        caption += f"moments its score is read at the nearest such place. Shown by rule: {FILM_RULE}."
        title = f"“{shown.rows.instruction[row]}”, from beginning to end"
        strip = film(shown, execution, frames, threshold=threshold)
        return draw_filmstrip(strip, path, title=title, caption=caption, simulated=origin.simulated)

    def draw_failures(path: Path) -> Path:
        kinds = failures(shown, frames, threshold=threshold)
        caption = f"{origin.caption} Shown by rule: {GALLERY_RULE}."
        return draw_gallery(kinds, path, title="The worst answers", caption=caption, simulated=origin.simulated)

    def draw_shares(path: Path) -> Path:
        curves = {
            name.replace("_", " "): head_curve(
                Shown(shown.rows, answers, shown.grid, shown.fine_grid), thresholds[name]
            )
            for name, answers in contenders.items()
        }
        title = "Are the scores right, and do they mean what they say?"
        caption = f"{origin.caption} Diamonds: precision and recall at the threshold in use."
        found = head_calibration(shown)
        return draw_curves(curves, found, path, title=title, caption=caption, simulated=origin.simulated)

    return Page("filmstrip", draw_film), Page("failures", draw_failures), Page("precision_recall", draw_shares)


def no_frames(error: VisualThoughtError) -> Frames:
    """Frames of a dataset that cannot be opened: asking for one says why. Raises NoFigure."""

    def frames(*_: object) -> NoReturn:
        raise NoFigure("pictures", f"the dataset could not be read: {error.problem}", remedy=error.remedy)

    return frames
