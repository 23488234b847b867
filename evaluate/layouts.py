"""Which numbers a task's table shows, in which order and how; read from what ``metrics.json`` holds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

type Numbers = Mapping[str, float | int | None]
"""A contender's scores as plain data."""

NOTHING = "-"


@dataclass(frozen=True)
class Column:
    """A heading and what stands under it."""

    heading: str
    value: Callable[[Numbers], str]


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
        """The columns and the number of rows."""
        return (*self.columns, Column("rows", lambda n: str(n["rows"])))


def number(key: str, form: str) -> Callable[[Numbers], str]:
    """One value, written in a form; ``-`` where nothing was measured."""

    def written(numbers: Numbers) -> str:
        value = numbers.get(key)
        return NOTHING if value is None else format(value, form)

    return written


def _share(key: str) -> Callable[[Numbers], str]:
    """Where no cell is relevant, there is nothing to find and no share of it."""
    form = number(key, ".3f")
    return lambda numbers: form(numbers) if (numbers["tp"] or 0) + (numbers["fn"] or 0) else NOTHING


CELLS = (
    Column("F 0.25", _share("f_0_25")),
    Column("precision", _share("precision")),
    Column("recall", _share("recall")),
    Column("FP", number("fp", "d")),
    Column("FN", number("fn", "d")),
)
POINTS = (
    Column("hit", number("hit_rate", ".1%")),
    Column("error px", number("point_error_median_px", ".1f")),
    Column("false alarm", number("false_alarm_rate", ".1%")),
)
GROUND = Layout(
    headline=Column("F 0.25", number("f_0_25", ".3f")),
    columns=CELLS + POINTS,
    ceiling=POINTS[:2],
    legend=(
        "F 0.25, precision, recall, FP and FN are pooled over all cells; 0/0 counts as 0. hit: the predicted point "
        "lies inside the target region. error px: median distance to the target's innermost pixel, original pixels. "
        "false alarm: negative rows with any positive cell. @: a threshold chosen on val. -: nothing to measure."
    ),
)
DISTILL = Layout(
    headline=Column("MSE", number("mse", ".4g")),
    columns=(
        Column("MSE", number("mse", ".5g")),
        Column("R²", number("r2", ".3f")),
        Column("cosine", number("cosine", ".3f")),
    ),
    legend=(
        "MSE: mean squared error over frames, tokens and channels, in the expert's own unit. R²: share of the rows' "
        "own variance that is explained, of each channel about its mean on the same rows. cosine: of a predicted token "
        "with the expert's. target_mean: the mean training target at every position."
    ),
)
DENSE = Layout(
    headline=Column("MSE", number("mse", ".4g")),
    columns=(
        Column("MSE", number("mse", ".4g")),
        *(Column(name, number(f"mse_{name}", ".4g")) for name in ("sin", "cos", "radius")),
        Column("P", number("corner_precision", ".3f")),
        Column("R", number("corner_recall", ".3f")),
        Column("F1", number("corner_f1", ".3f")),
        Column("true F1", number("true_corner_f1", ".3f")),
        Column("teacher", number("teacher_true_corner_f1", ".3f")),
    ),
    legend=(
        "MSE: mean squared error over frames, channels and pixels of the teacher's maps. sin, cos, radius: of one "
        "channel. P, R, F1: corner points decoded from predicted maps against points decoded from the teacher's by the "
        "same decoder. true F1: against the corners that labels know; teacher: the teacher's own."
    ),
)
LAYOUTS: Mapping[str, Layout] = {"ground": GROUND, "distill": DISTILL, "dense": DENSE}
