"""Workers to look for, and to lose."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

WAIT_S = 120


@pytest.fixture
def losing() -> Callable[..., AbstractContextManager[list[int]]]:
    """``with losing(store, "engines.worker") as lost``: once the store has a receipt, one worker gets SIGKILL."""
    return lose_one


@contextmanager
def lose_one(store: Path, name: str, number: signal.Signals = signal.SIGKILL, times: int = 1) -> Iterator[list[int]]:
    """Send a signal to workers, each after the store got another receipt; yields the ids of those that got it."""
    lost: list[int] = []
    over = threading.Event()

    def run() -> None:
        deadline = time.monotonic() + WAIT_S
        while len(lost) < times and time.monotonic() < deadline and not over.wait(0.02):
            found = [pid for pid in descendants(name) if pid not in lost]
            if found and len(receipts(store)) > len(lost):
                os.kill(found[-1], number)
                lost.append(found[-1])

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield lost
    finally:
        over.set()
        thread.join()


def receipts(store: Path) -> list[Path]:
    """The receipts a store has."""
    return list(store.glob("receipts/*/*/*.json"))


def descendants(name: str) -> list[int]:
    """Processes below this one with a word in their command line."""
    parents, words = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
    return [pid for pid in sorted(words) if name in words[pid] and os.getpid() in ancestors(pid, parents)]


def ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    """The processes above one."""
    while pid := parents.get(pid, 0):
        yield pid
