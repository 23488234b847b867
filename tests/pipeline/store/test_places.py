"""Parts of a remote store, which come when they are asked for, or a little before."""

import threading

import numpy as np
import pytest

from visual_thought.pipeline.errors import MachineError, StoreCorrupt
from visual_thought.pipeline.place import StoreUrl
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.layout import Layout
from visual_thought.pipeline.store.mirror import Mirror
from visual_thought.pipeline.store.objects import ObjectRemote

from .reads import read
from .remotes import Waits
from .toys import FORMAT_NAMES, ROWS, a_spec, fill, some_frames, some_values

PATIENCE_S = 30
OTHER_BYTES = 1


class Gate(ObjectRemote):
    """An object store whose parts wait for a gate to open, and fail or change as often as they are told to."""

    def __init__(self, url):
        super().__init__(url, patience=Waits().patience)
        self.open, self.asked, self.fails, self.spoils = threading.Event(), threading.Semaphore(0), 0, 0
        self.parts, self.given, self._lock = [], 0, threading.Lock()

    def get(self, name, *, limit):
        if not name.startswith("arrays/") or name.endswith((".json", ".claim")):
            return super().get(name, limit=limit)
        with self._lock:
            self.parts.append(name)
            failing, spoilt = self.fails > 0, self.spoils > 0
            self.fails, self.spoils = max(0, self.fails - 1), max(0, self.spoils - 1)
        self.asked.release()
        assert self.open.wait(PATIENCE_S)
        if failing:
            raise MachineError(f"{self.url} does not answer")
        data = super().get(name, limit=limit)
        self.given += 1
        return data[:-1] + bytes([data[-1] ^ OTHER_BYTES]) if spoilt else data

    def wait_until_asked(self, times=1):
        for _ in range(times):
            assert self.asked.acquire(timeout=PATIENCE_S)


@pytest.fixture(scope="module", params=FORMAT_NAMES)
def place(request, tmp_path_factory):
    """The name of a remote place with a store of three parts, which nobody changes, and its values."""
    name, values = f"memory://places-{request.param}", some_values(a_spec())
    url = StoreUrl(name, tmp_path_factory.mktemp("writer"))
    store = FeatureStore.create(Layout(url.folder, Mirror(url, url.folder, Gate(url))))
    fill(store, a_spec(), some_frames(), values, store_format=request.param)
    return name, values


@pytest.fixture
def remote(place, tmp_path):
    """The store, seen from a machine that has none of its parts; its values; its gate."""
    name, values = place
    url = StoreUrl(name, tmp_path)
    gate = Gate(url)
    return FeatureStore.open(Layout(url.folder, Mirror(url, url.folder, gate))), values, gate


def parts_here(store):
    """Which parts the local copy has."""
    (array,) = store.arrays()
    return [part for part in range(3) if array.part_path(part).exists()]


def test_reading_ahead_begins_downloads_and_waits_for_none(remote):
    store, values, gate = remote
    with store.reader("z") as reader:
        reader.read_ahead(np.arange(120, 140))
        gate.wait_until_asked(2)
        assert parts_here(store) == []
        gate.open.set()
        assert (read(reader, range(120, 140)) == values[120:140]).all()
    assert parts_here(store) == [0, 1]
    assert len(gate.parts) == 2


def test_a_part_that_is_under_way_is_not_asked_for_again(remote):
    store, values, gate = remote
    with store.reader("z") as reader:
        for _ in range(5):
            reader.read_ahead(np.array([7, 3, 3]))
        gate.wait_until_asked()
        gate.open.set()
        assert (read(reader, [3, 7]) == values[[3, 7]]).all()
        reader.read_ahead(np.array([7]))
        assert (read(reader, [7]) == values[[7]]).all()
    assert len(gate.parts) == 1


@pytest.mark.parametrize("engine", ["direct", "library"])
def test_threads_that_want_the_same_parts_share_their_downloads(remote, engine):
    store, values, gate = remote
    wrong, rows = [], np.random.default_rng(0).permutation(ROWS)
    with store.reader("z", engine=engine) as reader:

        def work(seed):
            order = np.roll(rows, seed)[:50]
            if (read(reader, order) != values[order]).any():
                wrong.append(seed)

        threads = [threading.Thread(target=work, args=(60 * seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        gate.wait_until_asked(3)
        gate.open.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert len(gate.parts) == 3


def test_a_download_that_fails_is_raised_where_its_rows_are_read_and_tried_again_by_the_next(remote):
    store, values, gate = remote
    gate.open.set()
    gate.fails = 1
    with store.reader("z") as reader:
        reader.read_ahead(np.array([5]))
        gate.wait_until_asked()
        assert (read(reader, [130]) == values[[130]]).all()  # another part
        with pytest.raises(MachineError, match="does not answer"):
            read(reader, [130, 5])
        assert parts_here(store) == [1]
        assert (read(reader, [130, 5]) == values[[130, 5]]).all()
    assert len(gate.parts) == 3


def test_other_bytes_than_the_receipt_says_are_refused_and_fetched_again_by_the_next(remote):
    store, values, gate = remote
    gate.open.set()
    gate.spoils = 1
    with store.reader("z", verify="never") as reader:
        with pytest.raises(StoreCorrupt, match="not what its receipt says"):
            read(reader, [5])
        assert parts_here(store) == []
        assert (read(reader, [5]) == values[[5]]).all()


def test_closing_waits_for_downloads_that_run_and_leaves_no_half_of_one(remote):
    store, _, gate = remote
    reader = store.reader("z")
    reader.read_ahead(np.arange(ROWS))
    gate.wait_until_asked(3)
    closing = threading.Thread(target=reader.close)
    closing.start()
    gate.open.set()
    closing.join(PATIENCE_S)
    assert not closing.is_alive()
    assert gate.given == 3
    assert parts_here(store) == [0, 1, 2]
    assert not list(store.path.rglob("*.tmp"))


def test_closing_after_a_failed_download_is_quiet(remote):
    store, _, gate = remote
    gate.open.set()
    gate.fails = 3
    with store.reader("z") as reader:
        reader.read_ahead(np.arange(ROWS))
        gate.wait_until_asked(3)
    assert parts_here(store) == []


def test_a_closed_reader_neither_reads_nor_reads_ahead(remote):
    store, _, gate = remote
    reader = store.reader("z")
    reader.close()
    reader.close()
    for use in (lambda: read(reader, [5]), lambda: reader.read_ahead(np.array([5]))):
        with pytest.raises(ValueError, match="closed"):
            use()
    assert not gate.parts


def test_what_has_come_is_verified_row_by_row_as_in_a_local_store(remote):
    store, values, gate = remote
    gate.open.set()
    (array,) = store.arrays()
    with store.reader("z", verify="always") as reader:
        assert (read(reader, range(ROWS)) == values).all()
        path = array.part_path(1)
        path.chmod(0o640)
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
        with pytest.raises(StoreCorrupt, match="row 128 in part 000001"):
            read(reader, [128])
        assert (read(reader, range(128)) == values[:128]).all()
