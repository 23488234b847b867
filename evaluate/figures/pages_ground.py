"""The pages of a grounding run: curves from its report, examples, filmstrip and failures from its answers."""

from collections.abc import Iterator
from pathlib import Path

from ...pipeline.metrics.grounding import Counts, sigmoid
from ..examples import Example, choose_examples
from ..frames import Frames
from ..report import ContenderReport, RunReport
from ..rows import LabelledRows
from .book import Page, where_from
from .curves import Shares, draw_curves
from .filmstrip import draw_filmstrip
from .gallery import draw_gallery
from .missing import NoFigure
from .overlay import draw_overlay
from .scenes_ground import FILM_RULE, GALLERY_RULE, choose_execution, failures, film
from .shown import Shown, panel_of
from .sweep import draw_sweep

ON_POSITIVE = "HIT: the predicted point lies on the true region; px off: from the region's innermost pixel."
ON_NEGATIVE = "SILENT, FALSE ALARM: the target is absent or not relevant now."


def ground_pages(shown: Shown, frames: Frames, run: RunReport) -> tuple[Page, ...]:
    """Every page but the training curves.

    Args:
        shown: the split's rows with the head's answers.
        frames: the pictures.
        run: the report, for everything that is a number.
    """
    examples = choose_examples(shown.rows, sigmoid(shown.answers.logits).max(axis=1))
    overlays = (_example_page(shown, example, frames, run) for example in examples)
    film, failed = _film_page(shown, frames, run), _failure_page(shown, frames, run)
    return (sweep_page(run), shares_page(run), *overlays, film, failed)


def sweep_page(run: RunReport) -> Page:
    """Decisions of the head and every control by threshold."""

    def draw(path: Path) -> Path:
        sweeps = {_named(one): one.sweep for one in run.contenders}
        used = {_named(one): _used(one) for one in run.contenders}
        caption = f"{where_from(run)} {run.head.scores.rows} rows. Diamonds: the threshold that each one uses."
        return draw_sweep(sweeps, path, used=used, caption=caption, simulated=run.simulated)

    return Page("threshold_sweep", draw)


def shares_page(run: RunReport) -> Page:
    """Precision against recall of every contender, and the calibration of the head."""

    def draw(path: Path) -> Path:
        found = run.head.findings
        if found is None:
            raise NoFigure("precision_recall", "the report holds no curve")
        title = "Are the scores right, and do they mean what they say?"
        caption = f"{where_from(run)} Diamonds: precision and recall at the threshold in use."
        curves = dict(_shares(run))
        return draw_curves(curves, found.calibration, path, title=title, caption=caption, simulated=run.simulated)

    return Page("precision_recall", draw)


def threshold_of(run: RunReport) -> float:
    """From which score on the head calls a cell relevant."""
    assert run.head.threshold is not None, "grounding decides by a threshold"
    return run.head.threshold


def _used(one: ContenderReport) -> tuple[float, Counts]:
    assert one.threshold is not None, "grounding decides by a threshold"
    numbers = one.scores.to_json()
    return one.threshold, Counts(**{name: int(numbers[name] or 0) for name in ("tp", "fp", "fn", "tn")})


def _shares(run: RunReport) -> Iterator[tuple[str, Shares]]:
    for one in run.contenders:
        if one.findings is not None:
            numbers = one.scores.to_json()
            said = (numbers["tp"] or 0) + (numbers["fp"] or 0)
            used = (float(numbers["recall"] or 0), float(numbers["precision"] or 0)) if said else None
            yield _named(one), Shares(one.findings.curve, numbers["average_precision"], used)


def _example_page(shown: Shown, example: Example, frames: Frames, run: RunReport) -> Page:
    def draw(path: Path) -> Path:
        threshold, apart = threshold_of(run), _asks_apart(shown, example)
        panels = [panel_of(shown, row, frames, threshold, heading=_heading(shown, row, apart)) for row in example.rows]
        caption = f"{where_from(run)} {_places(shown.rows, example)} Shown by rule: {example.rule}."
        kinds = {bool(shown.rows.positive[row]) for row in example.rows}
        caption += f" {ON_POSITIVE}" * (True in kinds) + f" {ON_NEGATIVE}" * (False in kinds)
        return draw_overlay(panels, path, title=example.title, caption=caption, simulated=run.simulated)

    return Page(example.name, draw)


def _film_page(shown: Shown, frames: Frames, run: RunReport) -> Page:
    def draw(path: Path) -> Path:
        execution = choose_execution(shown.rows)
        row = int(execution.rows[0])
        place = f"Episode {shown.rows.episode[row]}, {shown.rows.camera[row]} camera."
        caption = f"{where_from(run)} {place} Labels say where an object is only while it is relevant; at other "
        caption += f"moments its score is read at the nearest such place. Shown by rule: {FILM_RULE}."
        title = f"“{shown.rows.instruction[row]}”, from beginning to end"
        strip = film(shown, execution, frames, threshold=threshold_of(run))
        return draw_filmstrip(strip, path, title=title, caption=caption, simulated=run.simulated)

    return Page("filmstrip", draw)


def _failure_page(shown: Shown, frames: Frames, run: RunReport) -> Page:
    def draw(path: Path) -> Path:
        kinds = failures(shown, frames, threshold=threshold_of(run))
        caption = f"{where_from(run)} Shown by rule: {GALLERY_RULE}."
        return draw_gallery(kinds, path, title="The worst answers", caption=caption, simulated=run.simulated)

    return Page("failures", draw)


def _named(one: ContenderReport) -> str:
    return one.name.replace("_", " ")


def _heading(shown: Shown, row: int, with_instruction: bool) -> str:
    rows = shown.rows
    score = sigmoid(shown.answers.logits[row]).max()
    asked = [f"“{rows.instruction[row]}”"] if with_instruction else []
    wanted = f"relevant: {rows.target[row] or 'unnamed'}" if rows.positive[row] else "nothing is relevant"
    place = " · ".join(filter(None, (f"{rows.camera[row]} camera", rows.phase[row])))
    return "\n".join([*asked, f"{wanted} · highest score {score:.2f}", place])


def _asks_apart(shown: Shown, example: Example) -> bool:
    """Whether each panel must say its own instruction, because the title does not."""
    return any(f"“{shown.rows.instruction[row]}”" not in example.title for row in example.rows)


def _places(rows: LabelledRows, example: Example) -> str:
    places = dict.fromkeys(f"episode {rows.episode[row]} frame {rows.frame[row]}" for row in example.rows)
    return " and ".join(places).capitalize() + "."
