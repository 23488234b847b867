"""How an extraction is spread over workers; nothing here changes a number."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...pipeline.config import nearest
from ...pipeline.errors import ConfigError

ENGINES = {
    "local": "visual_thought.extract.engines.local:run_here",
    "slurm": "visual_thought.extract.engines.slurm:run_on_slurm",
    "ray": "visual_thought.extract.engines.ray_actors:run_on_ray",
}
"""Name -> a context manager ``(EngineConfig, ExtractConfig) -> Start``."""


@dataclass(frozen=True)
class EngineConfig:
    """Where workers run, how many, and when they count as lost."""

    engine: str = "local"
    """``local``: processes of this machine; ``slurm``: an array job, through submitit; ``ray``: actors of a cluster."""
    workers: int = 1
    """Workers at once, and shares the work is cut into."""
    threads: int | None = None
    """Threads of torch a worker. None is what one process would use, so that the store is the same to the byte (on a
    CPU the last bit may depend on their number); fewer are faster where many workers share one machine's cores. For
    SLURM, None is what a node gives a job."""
    attempts: int = 3
    """Workers that may be lost over one part before the extraction gives up."""
    stall_s: float = 900.0
    """A worker that runs no batch and commits no part for this long, in seconds, counts as hung and is killed.
    Loading the weights is part of it; waiting in a queue is not."""
    stop_s: float = 25.0
    """Seconds that workers have to end by themselves once they are asked to; then they are killed."""
    options: Mapping[str, object] = field(default_factory=dict)
    """For SLURM: submitit's parameters, those of SLURM without their prefix (``partition``, ``timeout_min``, …), and
    ``cluster``: ``local`` runs the jobs on this machine, for a trial."""
    folder: Path | None = None
    """For SLURM: where job files and logs go, a folder that every node sees; None is ``<store>.jobs``."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        if self.engine not in ENGINES:
            meant = nearest(self.engine, list(ENGINES))
            raise ConfigError(
                f"there is no engine {self.engine!r}",
                expected=list(ENGINES),
                remedy=f"did you mean {meant!r}?" if meant else None,
            )
        for name in ("workers", "threads", "attempts", "stall_s", "stop_s"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive", found=getattr(self, name))
        if self.options and self.engine != "slurm":
            raise ConfigError("only the engine slurm takes options", found=list(self.options))
