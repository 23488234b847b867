"""Where a grounding head points: from rows of Z and R to scores, a sub-cell and a point in the frame's own pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ...pipeline.errors import ConfigError, WeightsError
from ...pipeline.geometry import FrameGeometry
from ...train.heads.scores import Prediction, predict, top_candidates
from ...train.loaded import LoadedRun
from ...train.tasks.ground import GroundTask
from ...train.tasks.grounders import Grounder
from ..figures.panel import Panel
from .features import Picture

THRESHOLD = 0.5


@dataclass(frozen=True)
class Pointing:
    """What a grounding head says about one frame and instruction. Coordinates are the frame's own pixels.

    Args:
        scores: sigmoid(a_j) of every coarse cell, (rows, columns).
        point: the predicted point (x, y): the refined sub-cell's centre.
        sub_cell: the refined sub-cell as (left, top, right, bottom).
        column_edges: x of the coarse columns' borders, (columns + 1,).
        row_edges: y of the coarse rows' borders, (rows + 1,).
        size: (height, width) of the frame.
    """

    scores: Float[np.ndarray, "rows columns"]
    point: tuple[float, float]
    sub_cell: tuple[float, float, float, float]
    column_edges: Float[np.ndarray, " columns_1"]
    row_edges: Float[np.ndarray, " rows_1"]
    size: tuple[int, int]

    @property
    def score(self) -> float:
        """The highest cell score."""
        return float(self.scores.max())

    @property
    def score_there(self) -> float:
        """The score of the coarse cell that the point lies in, which need not be the highest."""
        column, row = (
            int(np.clip(np.searchsorted(edges, value, side="right") - 1, 0, len(edges) - 2))
            for edges, value in zip((self.column_edges, self.row_edges), self.point, strict=True)
        )
        return float(self.scores[row, column])

    @property
    def inside(self) -> bool:
        """Whether the point lies in the frame and not in the padding of a letterboxed input."""
        return 0 <= self.point[0] < self.size[1] and 0 <= self.point[1] < self.size[0]

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return {
            "point_px": [round(value, 3) for value in self.point],
            "sub_cell_px": [round(value, 3) for value in self.sub_cell],
            "score": self.score,
            "score_there": self.score_there,
            "relevant": self.score >= THRESHOLD,
            "frame_size": list(self.size),
            "scores": self.scores.tolist(),
        }

    def panel(self, frame: Picture, heading: str, truth: "Truth | None" = None) -> Panel:
        """The same as a panel to draw, judged where the truth is known."""
        return (Unjudged if truth is None else Panel)(
            frame=frame,
            scores=self.scores,
            column_edges=self.column_edges,
            row_edges=self.row_edges,
            sub_cell=self.sub_cell,
            point=self.point,
            region=truth and truth.region,
            true_point=truth and truth.point,
            heading=heading,
            threshold=THRESHOLD,
        )


class Truth(NamedTuple):
    """What a label says of one frame and instruction: the target's region and innermost pixel, None if it has none."""

    region: Bool[np.ndarray, "h w"] | None
    point: tuple[float, float] | None
    phase: str = ""


@dataclass(frozen=True)
class Unjudged(Panel):
    """A panel of a frame about which no label says anything."""

    @property
    def verdict(self) -> str:
        """Whether anything is called relevant."""
        return "RELEVANT" if self.top_score >= self.threshold else "NOTHING RELEVANT"


def require_grounding(loaded: LoadedRun) -> GroundTask:
    """The run's task; ConfigError for a run that points at nothing."""
    if not isinstance(loaded.task, GroundTask):
        raise ConfigError(
            f"{loaded.run_dir} cannot be drawn on frames: it points at nothing",
            found=f"a run of task {loaded.config.task}",
            expected="a run of task ground; its heads answer on frames, videos and pictures",
            remedy="`vtt eval` shows what runs of the other tasks predict",
        )
    return loaded.task


@torch.inference_mode()
def point(
    task: GroundTask, model: nn.Module, rows: Mapping[str, Float[Tensor, " b *shape"]], size: tuple[int, int]
) -> list[Pointing]:
    """What a head says about rows of its features, exactly as an evaluation reads it.

    Args:
        task: the head's task.
        model: the head in eval mode.
        rows: ``z`` (b, tokens, d) and, where the head refines, ``r`` (b, rows, columns, c).
        size: (height, width) of the frames.

    Raises:
        WeightsError: answers that are not finite.
    """
    grounder = cast(Grounder, model)
    reading = grounder.read(rows["z"])
    candidates = top_candidates(reading.coarse, grounder.num_candidates)
    scores = grounder.refine(reading, rows.get("r"), candidates)
    found = predict(scores, task.shapes.layout.grid, task.shapes.input_size)
    if not torch.isfinite(reading.coarse).all():
        raise WeightsError("the head's answers are not finite numbers", remedy="use another checkpoint")
    relevance = torch.sigmoid(reading.coarse.double()).cpu().numpy()  # (b, cells)
    return [_pointing(task, relevance[row], found, row, size) for row in range(len(relevance))]


def _pointing(
    task: GroundTask, relevance: Float[np.ndarray, " cells"], found: Prediction, row: int, size: tuple[int, int]
) -> Pointing:
    grid = task.shapes.layout.grid
    fine = (task.shapes.fine_grid or grid) if task.head.refine else grid
    geometry = FrameGeometry.of(task.specs["z"].image, *size)
    x, y = geometry.to_frame(found.point[row : row + 1].double().cpu().numpy())[0]
    columns, rows = geometry.cell_edges(fine)
    down, across = _place(float(y), rows), _place(float(x), columns)
    column_edges, row_edges = geometry.cell_edges(grid)
    return Pointing(
        scores=relevance.reshape(grid),
        point=(float(x), float(y)),
        sub_cell=(float(columns[across]), float(rows[down]), float(columns[across + 1]), float(rows[down + 1])),
        column_edges=column_edges,
        row_edges=row_edges,
        size=size,
    )


def _place(value: float, edges: Float[np.ndarray, " e"]) -> int:
    """The cell between whose borders a value lies."""
    return int(np.clip(np.searchsorted(edges, value, side="right") - 1, 0, len(edges) - 2))
