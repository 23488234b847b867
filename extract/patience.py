"""How long one stage of an extraction waits for another before it says so."""

import time
from dataclasses import dataclass, field

from ..pipeline.errors import Stalled
from ..pipeline.interrupt import Stop

POLL_S = 0.2
"""Whoever waits looks this often whether a signal came or nothing moves any more."""

GRACE_S = 8.0
"""After a signal or an error, how long each of three waits for work that was begun may take: 30 s in all."""


@dataclass
class Patience:
    """Watches a count that rises whenever something moves.

    Args:
        timeout_s: how long it may stand still.
        stop: whether a signal asked to stop.
    """

    timeout_s: float = 300.0
    stop: Stop = field(default_factory=Stop)
    _count: int = -1
    _since: float = 0.0

    def check(self, count: int, stage: str, at: object) -> None:
        """Look at the count, while waiting.

        Args:
            count: what has been done so far.
            stage: who does it, for the error.
            at: what it works on now.

        Raises:
            Stalled: the count stands still for ``timeout_s``.
        """
        now = time.monotonic()
        if count != self._count:
            self._count, self._since = count, now
        elif now - self._since > self.timeout_s:
            raise Stalled(
                f"{stage} makes no progress",
                found=f"nothing for {self.timeout_s:g} s; at {at}",
                remedy="look at the disk or network mount it works on; the same command resumes",
            )

    def restart(self) -> None:
        """Forget what was seen: nobody waited since."""
        self._count = -1
