import threading
import time
from types import SimpleNamespace

import pytest

from visual_thought.extract.parts import PartWriter
from visual_thought.extract.patience import Patience
from visual_thought.pipeline.errors import MachineError, StoreError
from visual_thought.pipeline.interrupt import Stop


def part(number):
    return SimpleNamespace(number=number, plan=SimpleNamespace(spec=SimpleNamespace(key="z-00000000")))


def put_for_ever(writer):
    while True:
        writer.put(part(0))


def test_leaving_the_block_commits_what_was_handed_over():
    done = []
    with PartWriter(lambda one: done.append(one.number)) as writer:
        for number in range(5):
            writer.put(part(number))
    assert (done, writer.written) == ([0, 1, 2, 3, 4], 5)


def test_a_writer_that_is_behind_holds_the_rest_back():
    release, handed = threading.Event(), []

    def hand_over(writer):
        for number in range(6):
            writer.put(part(number))
            handed.append(number)

    with PartWriter(lambda _: release.wait(60), depth=2) as writer:
        thread = threading.Thread(target=hand_over, args=(writer,))
        thread.start()
        thread.join(1)
        assert len(handed) <= 3
        release.set()
        thread.join()
    assert writer.written == 6


def test_an_error_of_the_thread_is_raised():
    def fails(_):
        raise StoreError("full")

    with pytest.raises(StoreError, match="full"), PartWriter(fails) as writer:
        put_for_ever(writer)


def test_a_commit_that_hangs_is_an_error_that_says_which():
    release = threading.Event()
    threading.Timer(4, release.set).start()
    with (
        pytest.raises(MachineError, match="writing makes no progress") as caught,
        PartWriter(lambda _: release.wait(60), patience=Patience(0.5)) as writer,
    ):
        writer.put(part(7))
    assert "part 7 of z-00000000" in caught.value.found
    release.set()


def test_after_a_signal_a_commit_that_hangs_is_left_behind(monkeypatch):
    monkeypatch.setattr("visual_thought.extract.parts.GRACE_S", 0.5)
    stop, release = Stop(), threading.Event()
    started = time.monotonic()
    with PartWriter(lambda _: release.wait(60), patience=Patience(60, stop)) as writer:
        writer.put(part(0))
        stop.signal = "SIGTERM"
    assert time.monotonic() - started < 20
    assert writer.written == 0
    release.set()


def test_a_writer_thread_that_is_ended_from_inside_is_an_error():
    def ends(_):
        raise SystemExit

    with pytest.raises(MachineError, match="writer thread ended early"), PartWriter(ends) as writer:
        put_for_ever(writer)
