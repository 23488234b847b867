"""Which function judges which task; one file and one line here add a task."""

from ..pipeline.errors import ConfigError
from .config import EvalConfig
from .subject import Subject
from .tasks.base import Judge, Judged
from .tasks.dense import judge_dense
from .tasks.distill import judge_distill
from .tasks.ground import judge_ground

JUDGES: dict[str, Judge] = {"ground": judge_ground, "distill": judge_distill, "dense": judge_dense}


def judge(subject: Subject, config: EvalConfig) -> Judged:
    """Judge an open run as its task asks.

    Raises:
        ConfigError: nobody judges that task.
        StoreError, WeightsError: see :func:`~.observations.observe_all`.
    """
    task = subject.loaded.config.task
    if task not in JUDGES:
        raise ConfigError(
            f"{subject.loaded.run_dir} cannot be evaluated", found=f"task {task}", expected=sorted(JUDGES)
        )
    return JUDGES[task](subject, config)
