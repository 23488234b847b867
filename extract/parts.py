"""Rows gather into parts; a thread commits every part that is full."""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped

from ..pipeline.errors import MachineError
from ..pipeline.store import FRAMES_SCHEMA, ArrayPlan
from ..pipeline.store.format import stored_dtype
from .decode import Frame
from .patience import GRACE_S, POLL_S, Patience
from .work import Place


@dataclass
class Part:
    """One part being filled: ``values`` (rows, \\*shape), and each row's time stamp and pixel hash."""

    plan: ArrayPlan
    number: int
    values: Shaped[np.ndarray, " rows *shape"]
    pts_s: list[float]
    pixels_sha256: list[str]
    missing: int
    seconds: dict[str, float] = field(default_factory=lambda: {"decode": 0.0, "forward": 0.0})

    @classmethod
    def empty(cls, plan: ArrayPlan, number: int) -> "Part":
        """A part without rows yet."""
        rows = len(plan.part_range(number))
        values = np.zeros((rows, *plan.spec.shape), stored_dtype(plan.spec))
        return cls(plan, number, values, [0.0] * rows, [""] * rows, rows)

    def frame_table(self) -> pa.Table:
        """Time stamp and pixel hash of every row's frame."""
        return pa.table({"pts_s": self.pts_s, "pixels_sha256": self.pixels_sha256}, schema=FRAMES_SCHEMA)


class Parts:
    """The open parts of a set of arrays. Rows come in order, so only a part or two an array are open at once."""

    def __init__(self, arrays: tuple[ArrayPlan, ...]) -> None:
        self._arrays = arrays
        self._open: dict[tuple[int, int], Part] = {}

    def put(
        self, place: Place, values: Shaped[np.ndarray, "*shape"], frame: Frame, seconds: Mapping[str, float]
    ) -> Part | None:
        """Store one row (\\*shape) and the seconds it took; returns its part once that is full."""
        plan = self._arrays[place.array]
        number, offset = divmod(place.row, plan.part_rows)
        part = self._open.get((place.array, number)) or Part.empty(plan, number)
        self._open[place.array, number] = part
        part.values[offset] = values
        part.pts_s[offset], part.pixels_sha256[offset] = frame.pts_s, frame.pixels_sha256
        part.missing -= 1
        for stage, value in seconds.items():
            part.seconds[stage] += value
        return self._open.pop((place.array, number)) if part.missing == 0 else None


class PartWriter:
    """Commits parts in a thread; at most ``depth`` wait. Leaving the ``with`` block commits what was handed over.

    An error in the thread is raised by the next :meth:`put`, or on leaving the block. After a signal or another error
    what was handed over has :data:`GRACE_S` seconds to be committed; a commit that hangs longer is left behind, which
    leaves no part behind, because a part is there only once its receipt is.
    """

    def __init__(self, commit: Callable[[Part], None], depth: int = 2, patience: Patience | None = None) -> None:
        self.seconds, self.written = 0.0, 0
        self._commit, self._patience = commit, patience or Patience()
        self._error: BaseException | None = None
        self._at, self._ended = "nothing", False
        self._queue: queue.Queue[Part | None] = queue.Queue(depth)
        self._thread = threading.Thread(target=self._run, name="part-writer", daemon=True)

    def __enter__(self) -> "PartWriter":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        failed = kind is not None
        if self._wait(lambda: self._offered(None), failed) and self._wait(self._gone, failed):
            self._thread.join()
        if not failed:
            self._raise()

    def put(self, part: Part) -> None:
        """Hand over a full part; waits while the queue is full. Dropped if a signal asks to stop meanwhile.

        Raises:
            MachineError: the thread makes no progress.
            Exception: what the thread raised.
        """
        self._raise()
        self._wait(lambda: self._offered(part), failed=False)

    def _wait(self, done: Callable[[], bool], failed: bool) -> bool:
        """Wait for something; False if it is not worth to wait any longer, because of an error or a signal."""
        self._patience.restart()
        until: float | None = None
        while not done():
            if not failed and not self._patience.stop:
                self._raise()
                self._patience.check(self.written, "writing", self._at)
            elif until is None:
                until = time.monotonic() + GRACE_S
            elif time.monotonic() > until:
                return False
        return True

    def _offered(self, part: Part | None) -> bool:
        try:
            self._queue.put(part, timeout=POLL_S)
        except queue.Full:
            return False
        return True

    def _gone(self) -> bool:
        self._thread.join(POLL_S)
        return not self._thread.is_alive()

    def _raise(self) -> None:
        if isinstance(self._error, Exception):
            raise self._error
        if self._error is not None or (not self._thread.is_alive() and not self._ended):
            raise MachineError(
                "the writer thread ended early", found=self._error, remedy="the same command resumes"
            ) from self._error

    def _run(self) -> None:
        while (part := self._queue.get()) is not None:
            if self._error is None:
                start = time.perf_counter()
                self._at = f"part {part.number} of {part.plan.spec.key}"
                try:
                    self._commit(part)
                    self.written += 1
                except BaseException as error:  # raised again in the caller's thread
                    self._error = error
                self.seconds += time.perf_counter() - start
        self._ended = True
