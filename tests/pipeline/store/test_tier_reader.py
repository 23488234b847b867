"""One reader for every format, tier and codec."""

import numpy as np
import pytest
import torch

from visual_thought.pipeline.errors import StoreCorrupt, StoreIncomplete
from visual_thought.pipeline.store import FeatureStore
from visual_thought.pipeline.store.tensors import decode

from .tiers import KINDS, a_store, stored
from .toys import ROWS, files_below, flip, some_row_bits

TIERED = sorted(kind for kind in KINDS if "int8" in kind or "packed" in kind)
VERIFY = ["first", "always", "never"]


@pytest.fixture(params=TIERED)
def tiered(request, tmp_path):
    """A store of one kind and the numbers it was made from."""
    return a_store(tmp_path / "b", request.param)


def logical(store, rows, **options):
    with store.reader("z", **options) as reader:
        out = np.empty((len(rows), *reader.spec.stored_shape), reader.dtype)
        reader.read_into(np.asarray(rows), out)
        return decode(out, reader.spec, reader.channel_scale)


def test_rows_come_back_in_any_order_with_repeats(tiered):
    store, x = tiered
    rows = np.random.default_rng(0).integers(0, ROWS, 64)
    whole, some = store.read("z", range(ROWS)), store.read("z", rows)
    assert torch.equal(some, whole[torch.from_numpy(rows)])
    assert some.dtype == (torch.float32 if store.features().popitem()[1].tier != "bf16" else torch.bfloat16)
    lossy = store.arrays()[0].spec.tier == "int8"
    np.testing.assert_allclose(whole.float().numpy(), x, rtol=0, atol=0.02 * np.abs(x).max() if lossy else 0)


@pytest.mark.parametrize("verify", VERIFY)
def test_every_way_of_checking_gives_the_same_numbers_twice(tiered, verify):
    store, _ = tiered
    with store.reader("z", verify=verify) as reader:
        out = np.empty((2, ROWS, *reader.spec.stored_shape), reader.dtype)
        for again in out:
            reader.read_into(np.arange(ROWS), again)
    assert out[0].tobytes() == out[1].tobytes() == stored(store).tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("verify", ["first", "always"])
def test_flipped_bits_of_rows_are_found(tiered, verify):
    store, _ = tiered
    array, before = store.arrays()[0], files_below(store.path)
    for bit in some_row_bits(array, 1, 40):
        flip(array.part_path(1), bit)
        with pytest.raises(StoreCorrupt, match="part 000001"):
            logical(store, range(128, 256), verify=verify)
        flip(array.part_path(1), bit)
    assert files_below(store.path) == before


def test_without_checking_a_flipped_bit_of_a_compressed_row_is_still_found(tmp_path):
    """A packed row's own checksum is what its decompression rests on."""
    store, _ = a_store(tmp_path / "b", "bf16 packed")
    array = store.arrays()[0]
    for bit in some_row_bits(array, 0, 40):
        flip(array.part_path(0), bit)
        with pytest.raises(StoreCorrupt):
            logical(store, range(128), verify="never")
        flip(array.part_path(0), bit)


def test_a_partial_store_gives_what_is_there(tiered):
    store, _ = tiered
    whole, array = store.read("z", range(ROWS)), store.arrays()[0]
    array.receipt_path(1).unlink()
    with pytest.raises(StoreIncomplete, match="not finished"):
        store.reader("z")
    with store.reader("z", allow_partial=True) as reader:
        assert np.flatnonzero(~reader.readable).tolist() == list(range(128, 256))
    assert torch.equal(logical(store, range(256, ROWS), allow_partial=True), whole[256:])
    assert torch.equal(store.read("z", [3, 299]), whole[[3, 299]])
    with pytest.raises(StoreIncomplete):
        store.read("z", [130])


def test_a_truncated_part_is_found_when_the_store_is_opened(tiered):
    store, _ = tiered
    path = store.arrays()[0].part_path(2)
    data = path.read_bytes()
    path.chmod(0o640)
    for size in (0, 1, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(StoreCorrupt, match="000002"):
            store.reader("z")


def test_every_kind_is_found_again_by_a_fresh_process_of_reading(tiered):
    store, _ = tiered
    again = FeatureStore.open(store.path)
    assert torch.equal(again.read("z", [7, 7, 250]), store.read("z", [7, 7, 250]))
