"""SIGTERM and SIGINT as a flag that a loop looks at between two batches."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether a signal asked to stop, and which."""

    signal: str | None = None

    def __bool__(self) -> bool:
        """True once a signal arrived."""
        return self.signal is not None


@contextmanager
def stop_on_signals(numbers: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT)) -> Iterator[Stop]:
    """Catch the first signal and remember it; the second one acts as usual. Outside the main thread: catch nothing."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in numbers}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def remember(number: int, _frame: FrameType | None) -> None:
        stop.signal = signal.Signals(number).name
        restore()

    for number in numbers:
        signal.signal(number, remember)
    try:
        yield stop
    finally:
        restore()
