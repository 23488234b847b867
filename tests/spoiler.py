"""Operations of which the k-th fails, or is the last thing the process does; for processes that write."""

import errno
import os
from collections.abc import Callable

DEAD = 9
CODES = {"full": errno.ENOSPC, "eio": errno.EIO, "lost": errno.EIO}


class Spoiler:
    """Counts operations and spoils the k-th; ``k`` = 0 spoils none.

    Args:
        root: only paths that begin with it count.
        always_works: operations that a full disk allows all the same.
    """

    def __init__(self, root: str, always_works: tuple[str, ...] = ()) -> None:
        self.root, self.always_works = root, always_works
        self.fault, self.k, self.seen, self.names = "none", 0, 0, set()

    def begin(self, fault: str, k: int) -> None:
        self.fault, self.k, self.seen = fault, k, 0

    def spoilt(self, name: str, call: Callable) -> Callable:
        def spoilt_call(*arguments, **options):
            self.seen, self.names = self.seen + 1, self.names | {name}
            late = self.fault == "full" and 0 < self.k < self.seen and name not in self.always_works
            if self.seen != self.k and not late:
                return call(*arguments, **options)
            if self.fault == "exit":
                os._exit(DEAD)
            if self.fault == "lost":
                done = call(*arguments, **options)
                if name == "open":
                    os.close(done)
            raise OSError(CODES[self.fault], os.strerror(CODES[self.fault]))

        return spoilt_call
