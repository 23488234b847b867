"""Which numbers a task's table shows, in which order and how; read from what ``metrics.json`` holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..train.sweep.intervals import Interval

type Numbers = Mapping[str, float | int | None]
"""A contender's scores as plain data."""
type Better = Literal["", "lower", "higher"]

NOTHING = "-"


@dataclass(frozen=True)
class Column:
    """A heading and what stands under it.

    Args:
        heading: the column's.
        key: of the scores.
        form: how a value is written.
        cells: a share of relevant cells, which is nothing where no cell is relevant.
        better: which values are the best; empty where none is, as of counts, which a silent head has none of.
        grouped: whether it is shown of groups too.
    """

    heading: str
    key: str
    form: str
    cells: bool = False
    better: Better = ""
    grouped: bool = True

    def value(self, numbers: Numbers) -> str:
        """One value; ``-`` where nothing was measured."""
        found = numbers.get(self.key)
        if found is None or (self.cells and not (numbers["tp"] or 0) + (numbers["fn"] or 0)):
            return NOTHING
        return format(found, self.form)

    @property
    def sign(self) -> int:
        """+1 where more is better, -1 where less is, 0 where neither."""
        return {"higher": 1, "lower": -1, "": 0}[self.better]

    def number(self, numbers: Numbers) -> float | None:
        """The same before it is written; None where nothing was measured."""
        return None if self.value(numbers) == NOTHING else numbers[self.key]

    def interval(self, found: Interval) -> str:
        """Mean ± half of a 95% interval."""
        if found.mean is None:
            return NOTHING
        form = ".1f" if self.form == "d" else self.form
        return format(found.mean, form) + ("" if found.half is None else f" ± {found.half:{form}}")


@dataclass(frozen=True)
class Layout:
    """The table of one task.

    Args:
        headline: the number that is said first.
        columns: of the table of contenders; a column that has nothing to show anywhere is left out.
        legend: what the headings mean.
        ceiling: columns of the ceiling's table.
    """

    headline: Column
    columns: tuple[Column, ...]
    legend: str
    ceiling: tuple[Column, ...] = ()

    @property
    def counted(self) -> tuple[Column, ...]:
        """The columns of groups and the number of rows."""
        return (*(column for column in self.columns if column.grouped), Column("rows", "rows", "d"))


CELLS = (
    Column("F 0.25", "f_0_25", ".3f", cells=True, better="higher"),
    Column("prec.", "precision", ".3f", cells=True, better="higher"),
    Column("recall", "recall", ".3f", cells=True, better="higher"),
    Column("AP", "average_precision", ".3f", cells=True, better="higher", grouped=False),
    Column("FP", "fp", "d"),
    Column("FN", "fn", "d"),
)
POINTS = (
    Column("hit", "hit_rate", ".1%", better="higher"),
    Column("error px", "point_error_median_px", ".1f", better="lower"),
    Column("false alarm", "false_alarm_rate", ".1%"),
)
GROUND = Layout(
    headline=CELLS[0],
    columns=CELLS + POINTS,
    ceiling=POINTS[:2],
    legend=(
        "F 0.25, prec. (precision), recall, FP and FN are pooled over all cells; 0/0 counts as 0. AP: average "
        "precision, over all thresholds. hit: the predicted point lies inside the target region. error px: median "
        "distance to the target's innermost pixel, original pixels. false alarm: negative rows with any positive "
        "cell. @: at the threshold with the highest F 0.25 on val. -: nothing to measure."
    ),
)
DISTILL = Layout(
    headline=Column("MSE", "mse", ".4g", better="lower"),
    columns=(
        Column("MSE", "mse", ".5g", better="lower"),
        Column("R²", "r2", ".3f", better="higher"),
        Column("cosine", "cosine", ".3f", better="higher"),
    ),
    legend=(
        "MSE: mean squared error over frames, tokens and channels, in the expert's own unit. R²: share of the rows' "
        "own variance that is explained, of each channel about its mean on the same rows. cosine: of a predicted token "
        "with the expert's. target_mean: the mean training target at every position."
    ),
)
DENSE = Layout(
    headline=Column("MSE", "mse", ".4g", better="lower"),
    columns=(
        Column("MSE", "mse", ".4g", better="lower"),
        *(Column(name, f"mse_{name}", ".4g", better="lower") for name in ("sin", "cos", "radius")),
        Column("P", "corner_precision", ".3f", better="higher"),
        Column("R", "corner_recall", ".3f", better="higher"),
        Column("F1", "corner_f1", ".3f", better="higher"),
        Column("true F1", "true_corner_f1", ".3f", better="higher"),
        Column("teacher", "teacher_true_corner_f1", ".3f"),
    ),
    legend=(
        "MSE: mean squared error over frames, channels and pixels of the teacher's maps. sin, cos, radius: of one "
        "channel. P, R, F1: corner points decoded from predicted maps against points decoded from the teacher's by the "
        "same decoder, found within the recipe's objective.corner_px of them (10 unless told otherwise; pixels of the "
        "original frame). true F1: likewise against the corners that labels know; teacher: the teacher's own."
    ),
)
FINDINGS = (
    Column("ECE", "calibration_error", ".3f"),
    Column("ECE 0.1+", "scored_calibration_error", ".3f", better="lower"),
    Column("Brier", "brier", ".3f", better="lower"),
    Column("views right", "views_right", ".1%", better="higher"),
    Column("same", "views_same", ".1%", better="higher"),
    Column("moments", "view_moments", "d"),
    Column("moved", "shift_moved", ".1%", better="higher"),
    Column("shift", "shift", ".2f"),
    Column("grasps", "shift_executions", "d"),
)
FINDINGS_LEGEND = (
    "ECE: mean distance of a cell's score and how often such cells are relevant; {base_rate} of all cells are, and who "
    "scores every cell so, knowing nothing, has none: no ECE is the best. ECE 0.1+: the same over cells that score 0.1 "
    "or more. Brier: mean squared distance of score and truth. views right: moments in which every camera's point lies "
    "on the target. same: all on one labelled object, of those that some question of that moment is about; agreement "
    "on any other object is not seen. moved: executions, each with one grasp, in which most frames before it prefer "
    "the cube's cells to the box's and most frames after it the box's; shift: by how much the difference of the two "
    "scores changes. moved counts signs, however small: read it beside shift, and beside instruction_blind, which "
    "cannot know what was asked."
)
"""To be filled in by :func:`~.legends.findings_legend`."""
LAYOUTS: Mapping[str, Layout] = {"ground": GROUND, "distill": DISTILL, "dense": DENSE}
