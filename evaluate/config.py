"""What an evaluation is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..pipeline.errors import ConfigError
from ..pipeline.place import Place


@dataclass(frozen=True)
class EvalConfig:
    """One evaluation of one or several runs. Everything left None is what the run itself recorded."""

    runs: tuple[Path, ...]
    """Run folders."""
    out: Path
    """Where metrics.json, the tables and figures/ go."""
    split: Literal["train", "val", "test"] = "test"
    """The split that is reported; ``best`` was chosen on val, so only test is news."""
    checkpoint: str = "best"
    """``best`` (each contender's own best validation), ``last`` or a step."""
    threshold: float = 0.5
    """A cell is positive from this score sigmoid(a) on; [open] in the paper."""
    precision: Literal["run", "fp32", "bf16"] = "run"
    """Number format of the forward pass; ``run`` is the one the run validated itself in."""
    batch_size: int = 128
    """Examples a batch; changes no number beyond rounding."""
    figures: bool = True
    """Draw figures; the pictures among them need the dataset."""
    compare: bool = False
    """Say by how much two runs differ, and whether the draw of episodes could explain it; seeds are not in it."""
    random_init: Path | None = None
    """A run of the same recipe, trained on features of a backbone with random weights: a control of every run."""
    random_init_store: Place | None = None
    """Its store, if that moved."""
    store: Place | None = None
    """The feature store: a folder or a URL."""
    manifest: str | None = None
    """The data manifest (a name or a path): other labels, another place."""
    root: Path | None = None
    """The dataset's folder, for pictures."""
    lerobot_home: Path | None = None
    """Where LeRobot keeps datasets, for pictures of a dataset without a ``root``."""
    hash_cache: Path | None = None
    """Folder that remembers the hashes of dataset files; None hashes them every time."""
    store_cache: Path | None = None
    """Folder of local copies of remote stores; None is ``~/.cache/visual-thought/stores``."""
    device: str = "auto"
    """``cpu``, ``cuda`` …; ``auto`` takes the accelerator if there is one."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ConfigError("there is no run to evaluate", expected="at least one run folder")
        if not 0 < self.threshold < 1:
            raise ConfigError("the threshold is no score", found=self.threshold, expected="between 0 and 1")
        if self.batch_size < 1:
            raise ConfigError("batch_size is too small", found=self.batch_size, expected="at least 1")
        places = [path.resolve() for path in self.runs]
        if twice := sorted({str(place) for place in places if places.count(place) > 1}):
            raise ConfigError("a run is named twice", found=twice, remedy="name each run folder once")
