"""Both engines of the reader, held against each other and against the numbers that were written."""

import itertools
import os
import shutil
import threading

import numpy as np
import pytest

from visual_thought.pipeline.errors import StoreCorrupt, StoreIncomplete
from visual_thought.pipeline.store import FeatureStore, commit_part, plan_array

from .lanes import FORMATS_IN_TURN
from .reads import Preads, read
from .tiers import KINDS, a_store, stored
from .toys import (
    ROWS,
    a_spec,
    fill,
    filled_store,
    flip,
    overwrite,
    row_spans,
    some_frames,
    some_row_bits,
    some_values,
)

ENGINES = ["direct", "library"]
RNG = np.random.default_rng(7)
ORDERS = {
    "random": RNG.integers(0, ROWS, 20),
    "repeats": np.array([5, 5, 6, 5, 299, 299, 0]),
    "neighbours": np.arange(120, 140),
    "backwards": np.arange(260, 250, -1),
    "one": np.array([256]),
    "unsigned": np.array([3, 250], np.uint16),
}


@pytest.fixture(scope="module", params=sorted(KINDS))
def kind(request, tmp_path_factory):
    """A store of one kind that nobody changes, and all its rows as they are stored."""
    store, _ = a_store(tmp_path_factory.mktemp("kinds") / "store", request.param)
    return store, stored(store, engine="direct", verify="always")


@pytest.fixture(params=ENGINES)
def engine(request):
    return request.param


@pytest.fixture(params=FORMATS_IN_TURN)
def store_format(request):
    return request.param


@pytest.mark.slow
@pytest.mark.parametrize("verify", ["first", "always"])
def test_the_library_gives_what_the_direct_reader_gives_in_any_order(kind, verify):
    store, whole = kind
    with store.reader("z", engine="library", verify=verify) as library, store.reader("z", verify=verify) as direct:
        for rows in ORDERS.values():
            for _ in range(2):  # unknown, then known
                found = read(library, rows)
                assert found.tobytes() == whole[rows].tobytes() == read(direct, rows).tobytes()
        assert (library.dtype, library.num_rows) == (direct.dtype, direct.num_rows)
        assert library.readable.all()


def test_the_library_reads_without_preadv_and_is_chosen_where_there_is_none(tmp_path, store_format, monkeypatch):
    store, values = filled_store(tmp_path / "store", store_format=store_format)
    calls = Preads(monkeypatch)
    with store.reader("z", engine="library") as reader:
        assert (read(reader, range(ROWS)) == values).all()
    assert not calls
    monkeypatch.delattr(os, "preadv")
    with store.reader("z") as reader:
        assert (read(reader, [7, 130]) == values[[7, 130]]).all()


def test_several_arrays_read_as_one(tmp_path, store_format, engine):
    store, values = FeatureStore.create(tmp_path / "store"), {}
    for stop in (150, 170, 320):
        for plan in plan_array(store, a_spec(), some_frames(stop), store_format=store_format):
            if plan.missing:
                values[plan.index_id] = some_values(a_spec(), plan.table.num_rows, seed=stop)
            for part in plan.missing:
                rows = plan.part_range(part)
                commit_part(store, plan, part, values[plan.index_id][rows.start : rows.stop])
    whole, rows = np.concatenate([values[index_id] for index_id in sorted(values)]), RNG.permutation(320)
    with store.reader("z", engine=engine) as reader:
        assert read(reader, rows).tobytes() == whole[rows].tobytes()


def test_a_partial_store_gives_what_is_there_and_names_what_is_not(tmp_path, store_format, engine):
    store, values = FeatureStore.create(tmp_path / "store"), some_values(a_spec())
    fill(store, a_spec(), some_frames(), values, parts=[0, 2], store_format=store_format)
    with pytest.raises(StoreIncomplete, match="1 parts are missing"):
        store.reader("z", engine=engine)
    with store.reader("z", engine=engine, allow_partial=True) as reader:
        rows = RNG.permutation(np.flatnonzero(reader.readable))
        assert len(rows) == 172
        assert read(reader, rows).tobytes() == values[rows].tobytes()
        with pytest.raises(StoreIncomplete, match="row 200"):
            read(reader, [0, 200])


def test_every_flipped_bit_in_a_row_is_the_same_error_to_both(kind, tmp_path):
    store = FeatureStore.open(shutil.copytree(kind[0].path, tmp_path / "store"))
    array = store.arrays()[0]
    path, spans = array.part_path(1), row_spans(array, 1)
    for bit in some_row_bits(array, 1, 5):
        flip(path, bit)
        row = 128 + int(((spans[:, 0] <= bit // 8) & (bit // 8 < spans.sum(axis=1))).argmax())
        for engine, verify in itertools.product(ENGINES, ("first", "always")):
            with store.reader("z", engine=engine, verify=verify) as reader:
                with pytest.raises(StoreCorrupt, match="part 000001 of z-") as caught:
                    read(reader, [127, row, 3])
                assert type(caught.value) is StoreCorrupt
                assert read(reader, [127, 3]).tobytes() == kind[1][[127, 3]].tobytes()
        flip(path, bit)


@pytest.mark.parametrize("verify", ["first", "always"])
def test_a_whole_part_that_is_another_one_is_found(tmp_path, store_format, engine, verify):
    store, _ = filled_store(tmp_path / "store", store_format=store_format)
    (array,) = store.arrays()
    overwrite(array.part_path(1), array.part_path(0).read_bytes())
    with (
        store.reader("z", engine=engine, verify=verify) as reader,
        pytest.raises(StoreCorrupt, match=r"row 128 in part 000001.* is not the one its receipt describes"),
    ):
        read(reader, range(ROWS))


def test_a_row_that_was_refused_is_refused_again_and_right_once_mended(tmp_path, store_format, engine):
    store, values = filled_store(tmp_path / "store", store_format=store_format)
    (array,) = store.arrays()
    bit = some_row_bits(array, 0, 1)[0]
    flip(array.part_path(0), bit)
    with store.reader("z", engine=engine, verify="first") as reader:
        for _ in range(2):
            with pytest.raises(StoreCorrupt):
                read(reader, range(128))
        flip(array.part_path(0), bit)
        assert (read(reader, range(128)) == values[:128]).all()


def test_a_file_that_goes_while_it_is_read_is_an_error_and_never_fill_values(tmp_path, store_format):
    store, values = filled_store(tmp_path / "store", store_format=store_format)
    path = store.arrays()[0].part_path(1)
    with store.reader("z", engine="library", verify="never") as library, store.reader("z") as direct:
        path.unlink()
        with pytest.raises(StoreCorrupt, match="part 000001"):
            read(library, [130])
        assert (read(library, [3]) == values[3]).all()
        assert (read(direct, [130]) == values[130]).all()  # its file is open


def test_any_number_of_threads_may_read_at_once(tmp_path, store_format, engine):
    store, values = filled_store(tmp_path / "store", store_format=store_format)
    wrong = []
    with store.reader("z", engine=engine) as reader:

        def work(seed):
            rng = np.random.default_rng(seed)
            for _ in range(8):
                rows = rng.integers(0, ROWS, 16)
                if read(reader, rows).tobytes() != values[rows].tobytes():
                    wrong.append(rows)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_unknown_engines_and_policies_are_refused_with_the_choices(tmp_path):
    store, _ = filled_store(tmp_path / "store")
    with pytest.raises(ValueError, match="engine is one of auto, direct, library, not 'mmap'"):
        store.reader("z", engine="mmap")
    with pytest.raises(ValueError, match="verify is one of first, always, never, not 'sometimes'"):
        store.reader("z", verify="sometimes")
