"""A reader that opens the store again and again while others write, repair and collect."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from visual_thought.pipeline.errors import StoreIncomplete
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.collect import collect
from visual_thought.pipeline.store.repair import repair

from .lanes import FORMATS_IN_TURN
from .toys import a_spec, flip, some_frames, some_row_bits, some_values

ROWS = 20 * 128 + 7
ROUNDS = 1000


class Reader:
    """Reads everything there is, over and over, until told to stop or :data:`ROUNDS` rounds are over."""

    def __init__(self, path, values):
        self.path, self.values = path, values
        self.counts, self.read, self.stop = [], threading.Event(), threading.Event()

    def loop(self):
        for _ in range(ROUNDS):
            self.counts.append(self.round())
            self.read.set()
            if self.stop.is_set():
                break

    def round(self):
        """How many rows there are; all of them are right."""
        store = FeatureStore.open(self.path)
        if not store.arrays():
            return 0
        with store.reader("z", allow_partial=True, verify="always") as reader:
            rows = np.flatnonzero(reader.readable)
            out = np.empty((len(rows), *reader.spec.shape), reader.dtype)
            reader.read_into(rows, out)
        assert out.tobytes() == self.values[rows].tobytes(), "wrong numbers"
        return len(rows)

    def waited_for(self):
        """Wait until at least one round began and ended after now."""
        for _ in range(2):
            self.read.clear()
            assert self.read.wait(30)


@pytest.fixture(params=FORMATS_IN_TURN)
def written(request, tmp_path):
    store, values = FeatureStore.create(tmp_path / "store"), some_values(a_spec(), ROWS)
    (plan,) = plan_array(store, a_spec(), some_frames(ROWS), store_format=request.param)
    return store, plan, values


def reading(store, values, work):
    """What the reader saw while ``work`` was done, given the reader itself to wait for."""
    reader = Reader(store.path, values)
    with ThreadPoolExecutor(1) as pool:
        loop = pool.submit(reader.loop)
        try:
            work(reader)
        finally:
            reader.stop.set()
        loop.result(60)
    return [*reader.counts, reader.round()]


def commit(store, plan, values, part):
    rows = plan.part_range(part)
    commit_part(store, plan, part, values[rows.start : rows.stop])


def test_while_parts_are_committed_rows_only_grow_and_are_right(written):
    store, plan, values = written

    def work(reader):
        for part in plan.missing:
            commit(store, plan, values, part)
            if part % 5 == 0:
                reader.waited_for()

    counts = reading(store, values, work)
    assert counts == sorted(counts)
    assert counts[-1] == ROWS
    assert len(set(counts)) > 3


def test_while_garbage_is_collected_nothing_is_missed(written):
    """A part without a receipt is garbage until its writer comes back to it."""
    store, plan, values = written
    (array,) = store.arrays()

    def work(reader):
        for part in plan.missing:
            if part % 3 == 0:
                rows = plan.part_range(part)
                array.part_path(part).write_bytes(array.format.encode(array.meta, values[rows.start : rows.stop]))
                (array.path / f".{part}.00.tmp").write_bytes(b"left by a dead writer")
            if part % 6 == 0:
                collect(store.path, min_age_s=0)
            commit(store, plan, values, part)
            if part % 5 == 0:
                reader.waited_for()
        collect(store.path, min_age_s=0)

    counts = reading(store, values, work)
    assert counts == sorted(counts)
    assert counts[-1] == ROWS
    assert not list(store.path.rglob(".*"))


def test_while_a_damaged_part_is_repaired_a_reader_sees_it_missing_or_whole_and_never_wrong(written):
    store, plan, values = written
    (array,) = store.arrays()
    for part in plan.missing:
        commit(store, plan, values, part)
    seen = set()

    def round_or_error(reader):
        try:
            return reader.round()
        except StoreIncomplete:  # its receipt was seen, and then its file was moved away
            return ROWS - 128

    def work(reader):
        flip(array.part_path(4), some_row_bits(array, 4, 1)[0])
        repair(store.path)
        seen.add(round_or_error(reader))
        commit(store, plan, values, 4)
        seen.add(round_or_error(reader))

    work(Reader(store.path, values))
    assert seen == {ROWS - 128, ROWS}
