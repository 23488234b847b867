"""Where a run's numbers can be watched. None of these may end a run: what fails is one warning, and then silent."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from .config import WandbConfig

LOG = logging.getLogger(__name__)


class Board(Protocol):
    """Takes numbers by their labels."""

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Show numbers of one step."""

    def close(self) -> None:
        """Write what is still kept back."""


class TensorBoard:
    """Event files in a folder; those of steps after ``start`` are dropped."""

    def __init__(self, folder: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=start + 1)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """One scalar a label."""
        for label, value in values.items():
            self._writer.add_scalar(label, value, step)

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class Wandb:
    """A Weights & Biases run, named as the run folder and grouped by it when the run is resumed."""

    def __init__(self, folder: Path, config: WandbConfig, described: Mapping[str, Any]) -> None:
        import wandb

        name = folder.resolve().name
        self._run = wandb.init(
            project=config.project, mode=config.mode, dir=str(folder), name=name, group=name, config=dict(described)
        )

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """One line of history."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class Guarded:
    """A board that is opened when there is a number for it, and whose first error is one warning and its end.

    Args:
        name: what it is called in the warning.
        make: opens it.
    """

    def __init__(self, name: str, make: Callable[[], Board]) -> None:
        self._name, self._make = name, make
        self._board: Board | None = None
        self._failed = False

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Show numbers of one step, if it still works."""
        if not self._failed:
            with self._forgiven():
                self._board = self._board or self._make()
                self._board.add(step, values)

    def close(self) -> None:
        """Close it, if it still works."""
        if self._board is not None and not self._failed:
            with self._forgiven():
                self._board.close()

    @contextmanager
    def _forgiven(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._failed = True
            LOG.warning("%s is off, the run goes on without it: %s", self._name, error)
