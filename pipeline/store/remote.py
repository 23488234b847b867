"""What a remote place must be able to do, and how often it is asked again.

Five back ends share one primitive: creating a name that is not there. Everything else a store needs follows from it.
"""

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ..errors import MachineError
from ..place import without_secrets

MAX_SAID = 200


class Listed(NamedTuple):
    """A file at a remote place: its bytes, and a word that changes when it is made again ("" if there is none)."""

    size: int
    tag: str


class Remote(Protocol):
    """A place that holds files by name. Its methods ask again themselves while an error may pass.

    All raise MachineError (exit code 5) if the place does not answer or does not let us in, without credentials in
    the message, and StoreError if there is no such bucket or repository.
    """

    url: str
    batch: int
    """How many parts are best put at once: 1, or many where a commit is dear."""

    def create(self, *, private: bool) -> None:
        """Make the place if it can be made and is not there."""

    def files(self) -> dict[str, Listed]:
        """Every file."""

    def has(self, name: str) -> bool:
        """Whether there is such a file, now."""

    def get(self, name: str, *, limit: int) -> bytes:
        """A file. FileNotFoundError if there is none, StoreCorrupt above ``limit`` bytes."""

    def put(self, files: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
        """Create files that are not there; returns what was found under the names that others created differently.

        A lost reply counts as success if our own bytes stand under the name.
        """

    def replace(self, name: str, data: bytes) -> None:
        """Write a file that belongs to no store (its card), over what is there."""


@dataclass(frozen=True)
class Patience:
    """How often a call is repeated, and how long to wait before: at random up to a bound that doubles.

    Args:
        attempts: calls in all.
        first_s: the bound of the first wait, in seconds.
        longest_s: the bound of every wait.
        pause: waits that many seconds.
        draw: a number in [0, 1).
    """

    attempts: int = 8
    first_s: float = 0.25
    longest_s: float = 20.0
    pause: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random

    def run[T](self, call: Callable[[], T], *, url: str, transient: Callable[[Exception], bool]) -> T:
        """The call's result; MachineError naming ``url`` once the attempts are used up."""
        for attempt in range(self.attempts):
            try:
                return call()
            except Exception as error:
                if not transient(error):
                    raise
                if attempt == self.attempts - 1:
                    raise MachineError(
                        f"{url} does not answer",
                        found=f"{said(error)} ({self.attempts} attempts)",
                        remedy="run the same command again: it goes on where it stopped",
                    ) from None  # the library's own text may hold addresses with credentials
            self.pause(self.draw() * min(self.longest_s, self.first_s * 2**attempt))
        raise AssertionError("at least one attempt is made")


def said(error: Exception) -> str:
    """The first line of what a library said, cut, and without anything secret."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return without_secrets(lines[0])[:MAX_SAID]
