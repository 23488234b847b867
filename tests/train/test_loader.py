"""Sources and the ring of buffers."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from grounding_toys import frame_rows, query_rows, r_spec, z_spec

from visual_thought.pipeline.errors import ConfigError, StoreCorrupt
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array
from visual_thought.pipeline.store.int8 import ChannelScale, quantise
from visual_thought.pipeline.store.tensors import decode, encode
from visual_thought.train.config import LoaderConfig
from visual_thought.train.loader import Field, Loader
from visual_thought.train.nonfinite import not_finite
from visual_thought.train.numbers import widen
from visual_thought.train.sampling import BlindExchange, EpochOrder, InOrder, WindowOrder
from visual_thought.train.sources import (
    DeviceSource,
    DiskSource,
    Free,
    MemorySource,
    open_sources,
    refuse_nonfinite,
)

CPU = torch.device("cpu")
ROWS = np.arange(0, 40, 2)
NAN = {"bf16": 0x7FC0, "fp32": np.nan}


class Slow:
    """A source that takes a while, longer for some rows, and counts its callers."""

    def __init__(self) -> None:
        self.spec, self.channel_scale, self.threads = z_spec(), None, set()

    def fill(self, rows, out) -> None:
        self.threads.add(threading.get_ident())
        time.sleep(0.002 * (rows[0] % 3))
        out[:] = encode(torch.tensor(rows % 64, dtype=torch.float32), self.spec)[:, None, None]


def field(**options) -> dict[str, Field]:
    return {"z": Field("z", np.arange(100, 150), **options)}


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_come_in_order_whatever_the_number_of_threads(threads):
    order = EpochOrder(np.arange(50), 8, seed=3)
    targets = {"y": torch.arange(50) * 2}
    source = Slow()
    with Loader({"z": source}, field(), targets, order, range(4, 24), batch_size=8, threads=threads, depth=2) as loader:
        seen = []
        for loaded in loader:
            draw = order(loaded.draw.step)
            seen.append(loaded.draw.step)
            assert loaded.batch["z"].dtype == torch.float32
            assert torch.equal(loaded.batch["z"][:, 3, 2], torch.from_numpy((100 + draw.examples) % 64).float())
            assert torch.equal(loaded.batch["y"], 2 * torch.from_numpy(draw.examples))
    assert seen == list(range(4, 24))


def test_a_last_batch_may_be_shorter():
    plan = InOrder(np.arange(5), 3)
    with Loader({"z": Slow()}, field(), {}, plan, range(2), batch_size=3) as loader:
        assert [len(loaded.batch["z"]) for loaded in loader] == [3, 2]


def test_a_blind_field_reads_another_query_of_the_same_group():
    groups = np.arange(50) // 5
    fields = field() | {"z_blind": Field("z", np.arange(100, 150), BlindExchange(groups, seed=0))}
    with Loader({"z": Slow()}, fields, {}, InOrder(np.arange(50), 50), range(1), batch_size=50) as loader:
        batch = next(iter(loader)).batch
    asked, read = (batch[name][:, 0, 0].numpy().astype(int) for name in ("z", "z_blind"))
    place = {value: i for i, value in enumerate(asked)}
    read_places = np.array([place[value] for value in read])
    assert np.array_equal(read_places // 5, groups)
    assert not np.array_equal(read, asked)


def test_an_error_in_a_reader_thread_is_raised_where_the_batch_is_asked_for():
    class Broken(Slow):
        def fill(self, rows, out):
            if 103 in rows:
                raise StoreCorrupt("row 103 is damaged")
            super().fill(rows, out)

    with Loader({"z": Broken()}, field(), {}, InOrder(np.arange(9), 3), range(3), batch_size=3, threads=2) as loader:
        batches = iter(loader)
        next(batches)
        with pytest.raises(StoreCorrupt, match="103"):
            next(batches)


def test_a_loader_that_is_left_early_ends_its_threads():
    before = threading.active_count()
    with Loader({"z": Slow()}, field(), {}, EpochOrder(np.arange(50), 8, 0), range(1000), batch_size=8) as loader:
        next(iter(loader))
    assert threading.active_count() == before


@pytest.mark.parametrize(
    "make",
    [
        DiskSource,
        lambda reader: MemorySource(DiskSource(reader), np.arange(0, 72, 3)),
        lambda reader: DeviceSource(DiskSource(reader), np.arange(0, 72, 3), CPU),
    ],
)
def test_disk_and_memory_give_the_rows_of_the_store(toys_once, make):
    store, rows = FeatureStore.open(toys_once / "store"), np.array([69, 0, 0, 33])
    with store.reader("r") as reader:
        out = np.empty((4, *r_spec().shape), np.uint16)
        make(reader).fill(rows, out)
    expected = store.read("r", rows)
    assert torch.equal(torch.from_numpy(out).view(torch.bfloat16), expected)


def test_features_stay_on_disk_when_memory_is_short_and_ram_is_refused(toys_once):
    store, rows = FeatureStore.open(toys_once / "store"), {"r": np.arange(72)}
    with store.reader("r") as reader:
        auto = open_sources({"r": reader}, rows, LoaderConfig(), Free(1000, CPU))
        assert isinstance(auto["r"], DiskSource)
        plenty = open_sources({"r": reader}, rows, LoaderConfig(), Free(10**9, CPU))
        assert isinstance(plenty["r"], MemorySource)
        with pytest.raises(ConfigError, match="do not fit"):
            open_sources({"r": reader}, rows, LoaderConfig(residency="ram"), Free(1000, CPU))


def test_rows_live_on_the_device_that_trains_when_it_has_room_and_a_gpu_that_is_not_there_is_refused(toys_once):
    """The host stands in for a device with memory of its own."""
    store, rows = FeatureStore.open(toys_once / "store"), {"r": np.arange(72)}
    with store.reader("r") as reader:
        for residency in ("auto", "gpu"):
            sources = open_sources({"r": reader}, rows, LoaderConfig(residency=residency), Free(10**9, CPU, 10**9))
            assert isinstance(sources["r"], DeviceSource)
        small = open_sources({"r": reader}, rows, LoaderConfig(), Free(10**9, CPU, 1000))
        assert isinstance(small["r"], MemorySource)
        with pytest.raises(ConfigError, match=r"GPU[\s\S]*GB needed[\s\S]*50% of"):
            open_sources({"r": reader}, rows, LoaderConfig(residency="gpu"), Free(10**9, CPU, 1000))
        with pytest.raises(ConfigError, match=r"needs a GPU[\s\S]*device cpu"):
            open_sources({"r": reader}, rows, LoaderConfig(residency="gpu"), Free(10**9, CPU))


@pytest.mark.parametrize("where", ["disk", "ram", "device"])
@pytest.mark.parametrize("tier", ["bf16", "fp32", "int8"])
def test_batches_are_the_same_wherever_the_rows_live(tmp_path, tier, where):
    store, expected = a_store(tmp_path, tier)
    plan = EpochOrder(np.arange(20), 8, seed=1)
    with store.reader("z") as reader:
        disk = DiskSource(reader)
        make = {"disk": lambda: disk, "ram": lambda: MemorySource(disk, ROWS), "device": on_the_host(disk)}
        with Loader({"z": make[where]()}, {"z": Field("z", ROWS)}, {}, plan, range(9), batch_size=8) as loader:
            for loaded in loader:
                assert loaded.batch["z"].dtype == torch.float32
                assert torch.equal(loaded.batch["z"], expected[ROWS[loaded.draw.examples]])


def on_the_host(disk):
    return lambda: DeviceSource(disk, ROWS, CPU)


def a_store(path, tier, spoilt=()):
    """A store of z in a tier, and its rows as float32; one number of the ``spoilt`` ones is NaN as it is stored."""
    spec, store = z_spec(tier), FeatureStore.create(path / "store")
    numbers = torch.randn(45, *spec.shape, generator=torch.Generator().manual_seed(0))
    scale = ChannelScale((0.5,) * spec.shape[-1], 45, "toys") if tier == "int8" else None
    stored = quantise(numbers.numpy(), scale) if scale else encode(numbers, spec)
    for row in spoilt:
        stored[row, 2, -4:] = np.frombuffer(np.float32("nan").tobytes(), np.int8) if scale else NAN[tier]
    (plan,) = plan_array(store, spec, query_rows(frame_rows(5, 3)), channel_scale=scale)
    commit_part(store, plan, 0, stored)
    return store, decode(stored, spec, scale).float()


def test_the_rows_of_coming_windows_are_read_ahead_once():
    class Asked(Slow):
        def __init__(self):
            super().__init__()
            self.ahead = []

        def read_ahead(self, rows):
            self.ahead.append(set(rows.tolist()))

    source, order = Asked(), WindowOrder(np.arange(50), np.arange(50) // 10, 5, seed=0, window=2)
    with Loader({"z": source}, field(), {}, order, range(3, 20), batch_size=5, threads=1, ahead=order.ahead) as loader:
        drawn = [set((100 + loaded.draw.examples).tolist()) for loaded in loader]
    assert [len(rows) for rows in source.ahead] == [40, 10, 20, 20, 10, 20][: len(source.ahead)]
    for rows in drawn:
        assert rows <= set().union(*source.ahead)


@pytest.mark.parametrize("tier", ["bf16", "fp32"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_names_its_row(tier, value):
    spec = z_spec(tier)
    values = torch.full((3, *spec.shape), 3.0e38)
    refuse_nonfinite(encode(values, spec), np.array([7, 8, 9]), spec)
    values[1, 4, 2] = value
    with pytest.raises(StoreCorrupt, match="row 8"):
        refuse_nonfinite(encode(values, spec), np.array([7, 8, 9]), spec)


class Stored:
    """What a source asks of a reader, with rows in memory: of them, rows 5 and 6 are spoilt by a NaN."""

    def __init__(self) -> None:
        self.spec, self.channel_scale, self.num_rows = z_spec(), None, 8
        values = torch.randn(self.num_rows, *self.spec.shape)
        values[5:7, 3, 1] = float("nan")
        self.stored = encode(values, self.spec)

    def read_into(self, rows, out) -> None:
        out[:] = self.stored[rows]


def fill(source, rows):
    out = np.empty((len(rows), *source.spec.stored_shape), np.uint16)
    source.fill(np.array(rows), out)
    return out


@pytest.mark.parametrize("tier", ["bf16", "fp32", "int8"])
@pytest.mark.parametrize("residency", ["disk", "ram", "gpu"])
def test_a_spoilt_row_is_refused_at_its_first_read_wherever_the_rows_live(tmp_path, tier, residency):
    """The host stands in for a device with memory of its own."""
    store, _ = a_store(tmp_path, tier, spoilt=(7,))
    every, config = np.arange(45), LoaderConfig(residency=residency)

    def deliver():
        sources = open_sources({"z": reader}, {"z": every}, config, Free(10**9, CPU, 10**9))
        with Loader(sources, {"z": Field("z", every)}, {}, InOrder(every, 4), range(12), batch_size=4) as loader:
            return [loaded.draw.step for loaded in loader]

    with store.reader("z") as reader, pytest.raises(StoreCorrupt, match=r"NaN or infinite[\s\S]*1 rows.*row 7"):
        deliver()


def test_a_spoilt_row_among_known_ones_is_named_and_refused_again_at_every_try():
    source = DiskSource(Stored())
    fill(source, [0, 1, 2, 3])
    for rows in ([3, 1, 5, 4], [5, 0], [4, 5], [2, 5, 5]):
        with pytest.raises(StoreCorrupt, match=f"{rows.count(5)} rows, the first is row 5"):
            fill(source, rows)
    assert np.array_equal(fill(source, [4, 0, 4]), source._reader.stored[[4, 0, 4]])


def test_a_row_is_checked_at_its_first_read_and_taken_as_it_is_from_then_on():
    reader = Stored()
    source = DiskSource(reader)
    fill(source, [1, 2])
    reader.stored[1] = reader.stored[6]
    assert np.array_equal(fill(source, [2, 1]), reader.stored[[2, 1]])
    with pytest.raises(StoreCorrupt, match="row 1"):
        fill(DiskSource(reader), [1])


def test_threads_that_read_a_spoilt_row_at_once_are_all_refused():
    source, start, refused = DiskSource(Stored()), threading.Barrier(8), []

    def read(first):
        start.wait()
        for rows in ([first % 5, 7], [first % 5, 5 + first % 2]):
            try:
                fill(source, rows)
            except StoreCorrupt as error:
                refused.append(str(error))

    threads = [threading.Thread(target=read, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 8
    assert {name for name in ("row 5", "row 6") if any(name in each for each in refused)} == {"row 5", "row 6"}


def test_every_bfloat16_becomes_the_float32_of_the_same_value():
    stored = np.arange(1 << 16, dtype=np.uint16)[: 3 * 21845].reshape(3, 21845)  # of no whole number of blocks
    finite = ~not_finite(stored.reshape(-1, 1), z_spec()).reshape(stored.shape)
    out = np.full(stored.shape, 7, np.float32)
    widen(stored, None, out)
    assert finite.sum() > 64_000
    assert np.array_equal(out.view(np.uint32)[finite], stored.astype(np.uint32)[finite] << 16)
    assert not np.isfinite(out[~finite]).any()


@pytest.fixture
def two_threads():
    """Torch with two threads, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system does not list threads there")
@pytest.mark.usefixtures("two_threads")
def test_widening_keeps_to_the_thread_that_asks():
    """Threads of torch's own, one set a reader, would take the cores from the step."""
    stored, running = np.zeros((4, 1 << 20), np.uint16), set(os.listdir("/proc/self/task"))
    out, seen = np.empty(stored.shape, np.float32), set[str]()

    def read():
        widen(stored, None, out)
        seen.update(os.listdir("/proc/self/task"))

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert len(seen - running) == 1  # the reader itself
