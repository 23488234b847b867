"""A recording for the Rerun viewer: frame, answer and score over time. Needs the optional package ``rerun-sdk``."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ...pipeline.errors import MissingDependency
from ...train.loaded import LoadedRun
from ..figures.panel import Panel
from .episode import Scene
from .places import one_step

SKY = (86, 180, 233)


def require_rerun() -> None:
    """MissingDependency unless rerun-sdk is installed."""
    if importlib.util.find_spec("rerun") is None:
        raise MissingDependency(
            "--rerun needs the package rerun-sdk",
            found="it is not installed",
            remedy="pip install 'visual-thought[rerun]', or leave --rerun out: --out clip.mp4 needs nothing more",
        )


class RerunFile:
    """An open recording."""

    def __init__(self, rerun: Any, recording: Any, fps: float) -> None:
        self._rerun, self._recording, self._fps = rerun, recording, fps

    def add(self, number: int, panel: Panel, drawn: UInt8[np.ndarray, "h w 3"]) -> None:
        """Log one frame, its sub-cell and point, the score, and the drawn picture."""
        rerun, log = self._rerun, self._recording.log
        self._recording.set_time("frame", sequence=number)
        self._recording.set_time("time", duration=number / self._fps)
        log("camera", rerun.Image(panel.frame).compress(jpeg_quality=95))
        left, top, right, bottom = panel.sub_cell
        log("camera/sub_cell", rerun.Boxes2D(mins=[[left, top]], sizes=[[right - left, bottom - top]], colors=[SKY]))
        log("camera/point", rerun.Points2D([panel.point], radii=[3.0], colors=[SKY]))
        log("answer/score", rerun.Scalars(panel.top_score))
        log("answer/cells", rerun.Tensor(panel.scores, dim_names=("row", "column")))
        log("answer/verdict", rerun.TextLog(panel.verdict))
        log("overlay", rerun.Image(drawn).compress(jpeg_quality=90))


@contextmanager
def open_rerun(path: Path, scene: Scene, loaded: LoadedRun) -> Iterator[RerunFile]:
    """A recording that gets its name when the block ends well. Raises MissingDependency, MachineError."""
    require_rerun()
    import rerun

    name = f"{loaded.run_dir.resolve().name}, episode {scene.episode}, {scene.camera}"
    with one_step(path) as unfinished:
        recording = rerun.RecordingStream("visual-thought", recording_id=name)
        recording.save(unfinished)
        recording.log("instruction", rerun.TextDocument("\n".join(dict.fromkeys(scene.instructions))), static=True)
        yield RerunFile(rerun, recording, scene.source.fps)
        recording.flush()
        recording.disconnect()
