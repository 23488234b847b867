"""A file written from many pieces is those pieces one after another, however the system takes them."""

import errno
import os
from dataclasses import replace

import numpy as np
import pytest

from visual_thought.pipeline.errors import MachineError
from visual_thought.pipeline.store.commit import commit_pieces
from visual_thought.pipeline.store.format import load_format
from visual_thought.pipeline.store.layout import Layout
from visual_thought.pipeline.store.system import SYSTEM

from .reads import first_bytes
from .toys import FORMAT_NAMES, filled_store

IOV_MAX = os.sysconf("SC_IOV_MAX")


def some_pieces(count, *, longest=40, seed=0):
    """Pieces of random lengths, some of them empty."""
    rng = np.random.default_rng(seed)
    return [rng.bytes(length) for length in rng.integers(0, longest, count).tolist()]


class Writes(list):
    """Calls of ``os.writev``: pieces and bytes of each. No call takes more bytes than ``most``, in turns."""

    def __init__(self, *most):
        super().__init__()
        self.most = most

    def __call__(self, fd, pieces):
        most = self.most[len(self) % len(self.most)] if self.most else 1 << 40
        self.append((len(pieces), sum(len(piece) for piece in pieces)))
        return os.writev(fd, first_bytes(pieces, most))

    @property
    def calls(self):
        return replace(SYSTEM, write=self)


@pytest.mark.parametrize("count", [0, 1, 2, IOV_MAX - 1, IOV_MAX, IOV_MAX + 1, 3 * IOV_MAX + 7])
def test_any_number_of_pieces_becomes_one_file(tmp_path, count):
    pieces, writes = some_pieces(count), Writes()
    assert commit_pieces(tmp_path / "part", pieces, calls=writes.calls) is None
    assert (tmp_path / "part").read_bytes() == b"".join(pieces)
    assert os.listdir(tmp_path) == ["part"]
    full = sum(1 for piece in pieces if piece)
    assert len(writes) == -(-full // IOV_MAX)
    assert all(number <= IOV_MAX for number, _ in writes)


@pytest.mark.parametrize("most", [(1,), (2, 3), (7, 1, 64), (39,), (40,), (500,), (1, 10**6)])
def test_short_writes_go_on_in_the_middle_of_a_piece(tmp_path, most):
    pieces, writes = some_pieces(200), Writes(*most)
    commit_pieces(tmp_path / "part", pieces, calls=writes.calls)
    assert (tmp_path / "part").read_bytes() == b"".join(pieces)
    assert len(writes) > 1


def test_a_write_that_takes_nothing_is_repeated(tmp_path):
    pieces, writes = some_pieces(20), Writes(0, 30)
    commit_pieces(tmp_path / "part", pieces, calls=writes.calls)
    assert (tmp_path / "part").read_bytes() == b"".join(pieces)


@pytest.mark.parametrize("pieces", [[], [b""], [b"", b"", np.empty(0, np.uint8)]])
def test_nothing_is_an_empty_file(tmp_path, pieces):
    commit_pieces(tmp_path / "part", pieces)
    assert (tmp_path / "part").read_bytes() == b""


def test_empty_pieces_leave_no_trace(tmp_path):
    nothing = [b"", bytearray(), memoryview(b""), np.empty(0, np.uint8)]
    commit_pieces(tmp_path / "part", [*nothing, b"ab", *nothing, b"c", *nothing])
    assert (tmp_path / "part").read_bytes() == b"abc"


def test_pieces_may_be_any_buffer_and_are_not_changed(tmp_path):
    numbers = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    pieces = [numbers, bytearray(b"xy"), memoryview(b"z"), numbers[1].view(np.uint16)]
    expected = b"".join(memoryview(piece).tobytes() for piece in pieces)
    commit_pieces(tmp_path / "part", pieces, calls=Writes(5).calls)
    assert (tmp_path / "part").read_bytes() == expected
    assert (numbers.ravel() == np.arange(24)).all()


def test_a_failure_between_two_writes_leaves_nothing(tmp_path):
    writes = Writes(100)

    def failing(fd, pieces):
        if len(writes) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return writes(fd, pieces)

    pieces = some_pieces(60)
    with pytest.raises(MachineError, match="no room") as error:
        commit_pieces(tmp_path / "part", pieces, calls=replace(SYSTEM, write=failing))
    assert error.value.expected == f"{sum(map(len, pieces))} bytes"
    assert os.listdir(tmp_path) == []


def test_pieces_of_a_file_that_is_there_are_not_written(tmp_path):
    writes = Writes()
    commit_pieces(tmp_path / "part", [b"the ", b"first"])
    assert commit_pieces(tmp_path / "part", [b"another"], calls=writes.calls) == b"the first"
    assert not writes


@pytest.mark.parametrize("store_format", FORMAT_NAMES)
def test_the_pieces_of_a_part_are_its_encoding(tmp_path, store_format):
    store, values = filled_store(tmp_path / "store", store_format=store_format)
    (array,) = store.arrays()
    encoded = load_format(store_format).encode(array.meta, values[256:])
    assert array.part_path(2).read_bytes() == encoded
    assert Layout(store.path).commit_pieces(tmp_path / "again", [encoded[:5], encoded[5:]]) is None
    assert (tmp_path / "again").read_bytes() == encoded
