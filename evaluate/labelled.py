"""Label rows as plain arrays, with the targets that a grounding task's grids give them."""

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from ..pipeline.datasets.masks import decode_rle
from ..pipeline.datasets.targets import targets_of
from ..pipeline.geometry import FrameGeometry
from ..train.tasks.ground import GroundTask
from .rows import LabelledRows


def labelled_rows(labels: pa.Table, task: GroundTask) -> LabelledRows:
    """The labels' rows in their order.

    Args:
        labels: n rows of a label table.
        task: whose grids the targets belong to.
    """
    image, grid = task.specs["z"].image, task.shapes.layout.grid
    targets = targets_of(labels, image, grid, task.shapes.fine_grid or grid)
    texts = {name: tuple(labels[name].to_pylist()) for name in ("camera", "instruction", "target", "phase")}
    masks, heights, widths = (labels[name].to_pylist() for name in ("mask", "mask_height", "mask_width"))

    def region(row: int) -> Bool[np.ndarray, "h w"] | None:
        return None if masks[row] is None else decode_rle(masks[row], heights[row], widths[row])

    sizes = zip(texts["camera"], heights, widths, strict=True)
    return LabelledRows(
        episode=labels["episode_index"].to_numpy(),
        frame=labels["frame_index"].to_numpy(),
        **texts,
        cells=targets.cells,
        points=targets.point,
        region=region,
        geometry={camera: FrameGeometry.of(image, h, w) for camera, h, w in sizes if h is not None},
    )
