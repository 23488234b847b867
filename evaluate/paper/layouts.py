"""The columns of the paper's tables, in its order."""

from collections.abc import Mapping
from dataclasses import dataclass

from .published import DIM, GRID, LAYERS, LR, P_NEGATIVE, P_POSITIVE
from .table import Column


@dataclass(frozen=True)
class Layout:
    """One table of the paper.

    Args:
        task: of the runs it is made from.
        title: what it shows.
        corner: heading of the rows' names.
        columns: left to right.
        measured: what its numbers are.
    """

    task: str
    title: str
    corner: str
    columns: tuple[Column, ...]
    measured: str


_F = r"$F_{0.25}$"
CELLS = (
    Column("val.fp", "FP", "count", "lower"),
    Column("val.fn", "FN", "count", "lower"),
    Column("val.precision", "Prec.", "fixed3", "higher"),
    Column("val.recall", "Rec.", "fixed3", "higher"),
    Column("val.f_0_25", "F0.25", "fixed3", "higher", _F),
    Column("val.loss", "Val loss", "fixed3", "lower"),
)
_LAYERS = Column(LAYERS, "Layers", "whole")
_EXPERT = "train numbers are of the training examples that every validation scores too, without dropout"
_POOLED = "counts, precision, recall and F0.25 (eq. 51) are pooled over all cells; threshold 0.5"

LAYOUTS: Mapping[int, Layout] = {
    1: Layout(
        "distill",
        "Expert feature distillation by decoder depth",
        "Run",
        (
            _LAYERS,
            Column(DIM, "Dim.", "whole"),
            Column("size.all", "Params", "millions", "lower"),
            Column("train.mse", "Train loss", "fixed4", "lower"),
            Column("val.mse", "Val loss", "fixed4", "lower"),
        ),
        f"loss: mean squared error in the expert's own unit (eq. 22), whatever a run was trained on; {_EXPERT}",
    ),
    2: Layout(
        "dense",
        "Dense reconstruction by decoder depth and token grid",
        "",
        (
            Column(LAYERS, "Num. Layers", "whole"),
            Column(GRID, "Grid Size", "text"),
            Column("size.decoder", "Decoder Params", "millions"),
            Column("size.head", "Head Params", "millions"),
            Column("train.mse", "Train MSE", "fixed4", "lower"),
            Column("val.mse", "Val MSE", "fixed4", "lower"),
        ),
        f"MSE over channels and pixels of the teacher's maps (eq. 32); {_EXPERT}",
    ),
    3: Layout(
        "ground",
        "Coarse-scale grounding, one factor at a time",
        "Group",
        (
            Column(LR, "LR", "rate"),
            Column(DIM, "Dec", "whole"),
            _LAYERS,
            Column(P_POSITIVE, "p+", "share", latex="$p^+$"),
            Column(P_NEGATIVE, "p-", "share", latex="$p^-$"),
            Column("size.all", "Params", "millions"),
            *CELLS,
        ),
        _POOLED,
    ),
    4: Layout(
        "ground",
        "Checkpoints of one grounding run",
        "Checkpoint",
        (Column("step", "Step", "text"), *CELLS),
        _POOLED,
    ),
}
