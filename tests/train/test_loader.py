"""Sources and the ring of buffers."""

import threading
import time

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


def a_store(path, tier):
    """A store of z in a tier, and its rows as float32."""
    spec, store = z_spec(tier), FeatureStore.create(path / "store")
    numbers = torch.randn(45, *spec.shape, generator=torch.Generator().manual_seed(0))
    scale = ChannelScale((0.5,) * spec.shape[-1], 45, "toys") if tier == "int8" else None
    stored = quantise(numbers.numpy(), scale) if scale else encode(numbers, spec)
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
