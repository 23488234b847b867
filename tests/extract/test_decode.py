import threading
import time

import numpy as np
import pytest

from visual_thought.extract.decode import Frame, decode_ahead
from visual_thought.extract.frames import FrameId
from visual_thought.extract.patience import Patience
from visual_thought.extract.work import Batch
from visual_thought.pipeline.errors import DatasetError, MachineError
from visual_thought.pipeline.interrupt import Stop

EPISODES, LENGTH, SIZE = 5, 13, 4
FRAMES = [FrameId("lab/x", episode, "main", frame) for episode in range(EPISODES) for frame in range(LENGTH)]
BATCHES = [Batch(tuple(FRAMES[at : at + SIZE]), ()) for at in range(0, len(FRAMES), SIZE)]


def picture(frame):
    return Frame(float(frame.frame), np.full((2, 2, 3), 10 * frame.episode + frame.frame, np.uint8), "")


def decode(frames):
    return (picture(frame) for frame in frames)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_frames_come_in_order_whatever_the_number_of_threads(threads):
    found = list(decode_ahead(BATCHES, decode, threads=threads, ahead=6))
    assert [batch.batch for batch in found] == BATCHES
    pixels = [frame.rgb[0, 0, 0] for batch in found for frame in batch.frames]
    assert pixels == [10 * frame.episode + frame.frame for frame in FRAMES]


def test_several_episodes_are_decoded_at_once():
    meeting = threading.Barrier(3, timeout=30)

    def meet(frames):
        meeting.wait()  # breaks unless three threads are here together
        return decode(frames)

    three = [batch for batch in BATCHES if batch.frames[-1].episode < 3]
    assert len(list(decode_ahead(three, meet, threads=3, ahead=6))) == len(three)


def test_no_more_is_decoded_ahead_than_allowed():
    count, most, lock = [0], [0], threading.Lock()

    def counted(frames):
        for frame in frames:
            with lock:
                count[0] += 1
                most[0] = max(most[0], count[0])
            yield picture(frame)

    for batch in decode_ahead(BATCHES, counted, threads=3, ahead=6):
        with lock:
            count[0] -= len(batch.frames)
    assert most[0] <= 6 + SIZE + 3 + 1  # held, taken for the batch at hand, one in each thread's hands


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_is_raised_where_its_frame_was_due(threads):
    def damaged(frames):
        for frame in frames:
            if (frame.episode, frame.frame) == (2, 3):
                raise DatasetError("damaged")
            yield picture(frame)

    seen = []
    with pytest.raises(DatasetError, match="damaged"):
        seen.extend(decode_ahead(BATCHES, damaged, threads=threads, ahead=6))
    assert [batch.batch for batch in seen] == BATCHES[: (2 * LENGTH + 3) // SIZE]


def test_inputs_are_made_in_the_thread_that_decoded():
    def prepare(frame):
        return {"thread": threading.current_thread().name}

    batch = next(iter(list(decode_ahead(BATCHES[:1], decode, prepare=prepare))))
    assert {one["thread"] for one in batch.inputs} == {"decoder-0"}


def test_a_decoder_that_hangs_is_an_error_that_says_where():
    release = threading.Event()

    def hangs(frames):
        for frame in frames:
            if (frame.episode, frame.frame) == (1, 5):
                release.wait(60)
            yield picture(frame)

    threading.Timer(2, release.set).start()  # or closing would wait for the thread
    with pytest.raises(MachineError, match="decoding makes no progress") as caught:
        list(decode_ahead(BATCHES, hangs, patience=Patience(0.5)))
    assert "episode 1, camera main, frame 5" in caught.value.found
    assert caught.value.exit_code == 5
    release.set()


def test_a_decoder_that_ends_early_is_an_error():
    with pytest.raises(MachineError, match="ended early") as caught:
        list(decode_ahead(BATCHES, lambda frames: decode(list(frames)[:-1])))
    assert "episode 0, camera main, frame 12" in caught.value.found


def test_a_decoder_thread_that_is_ended_from_inside_is_an_error():
    def ends(frames):
        raise SystemExit
        yield

    with pytest.raises(MachineError, match="ended early"):
        list(decode_ahead(BATCHES, ends))


def test_a_signal_ends_the_wait_for_a_decoder_that_hangs():
    stop, release = Stop(), threading.Event()

    def hangs(frames):
        stop.signal = "SIGTERM"
        release.wait(60)
        yield from decode(frames)

    started = time.monotonic()
    threading.Timer(1, release.set).start()
    assert list(decode_ahead(BATCHES, hangs, patience=Patience(60, stop))) == []
    assert time.monotonic() - started < 30


def test_closing_early_ends_the_threads():
    batches = decode_ahead(BATCHES, decode, threads=3, ahead=6)
    next(batches)
    batches.close()
