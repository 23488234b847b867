"""Numbers between tiers: rounding, exactness, and what is refused."""

import numpy as np
import pytest
import torch

from visual_thought.pipeline.errors import StoreError
from visual_thought.pipeline.store.int8 import ChannelScale
from visual_thought.pipeline.store.tensors import decode_bf16, encode_bf16
from visual_thought.pipeline.store.tiers import narrow, not_finite_rows, recode, refuse_tiers, to_float32, widen

EVERY_BF16 = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)


def test_every_bfloat16_widens_to_the_number_torch_says_and_comes_back():
    wide = widen(EVERY_BF16)
    np.testing.assert_array_equal(wide, decode_bf16(EVERY_BF16).float().numpy())
    known = ~np.isnan(wide)
    assert (narrow(wide)[known] == EVERY_BF16[known]).all()
    assert (narrow(wide)[~known] == 0x7FC0).all()


def test_narrowing_rounds_as_torch_does():
    bits = np.random.default_rng(0).integers(0, 1 << 32, 10**5, dtype=np.uint32)
    ties = (EVERY_BF16.astype(np.uint32) << 16) + 0x8000
    x = np.concatenate([bits, ties, ties - 1, ties + 1]).view(np.float32)
    x = x[~np.isnan(x)]
    np.testing.assert_array_equal(narrow(x), encode_bf16(torch.from_numpy(x)))


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (1.0, 0x3F80),
        (1 + 2**-8, 0x3F80),  # half way: to the even one below
        (1 + 3 * 2**-8, 0x3F82),  # half way: to the even one above
        (1 + 2**-8 + 2**-20, 0x3F81),
        (-0.0, 0x8000),
        (np.inf, 0x7F80),
        (-np.inf, 0xFF80),
        (np.nan, 0x7FC0),
        (-np.nan, 0x7FC0),
        (1e-45, 0x0000),
        (3.4028235e38, 0x7F80),
    ],
)
def test_known_values_round_to_nearest_even(value, bits):
    assert int(narrow(np.array([value], np.float32))[0]) == bits


@pytest.mark.parametrize("target", ["bf16", "fp32"])
def test_int8_goes_nowhere(target):
    with pytest.raises(StoreError, match="does not come back"):
        refuse_tiers("int8", target)
    refuse_tiers("int8", "int8")


def test_a_scale_is_never_guessed():
    with pytest.raises(ValueError, match="scale"):
        to_float32(np.zeros((1, 8), np.int8), "int8")
    with pytest.raises(ValueError, match="scale"):
        recode(np.zeros((1, 4), np.float32), "fp32", "int8", None)


def test_the_row_that_a_tier_cannot_hold_is_named():
    x = np.ones((5, 2, 3), np.float32)
    x[3, 1, 2] = np.nan
    with pytest.raises(StoreError, match="row 3"):
        recode(x, "fp32", "int8", ChannelScale((1.0,) * 3, 1, "here"))
    x[3, 1, 2] = 3.4e38
    with pytest.raises(StoreError, match="row 3"):
        recode(x, "fp32", "bf16", None)
    with pytest.raises(StoreError, match="row 3"):
        recode(x, "fp32", "int8", ChannelScale((1e-10,) * 3, 1, "here"))


def test_the_same_tier_is_the_same_array():
    x = np.ones((2, 3), np.uint16)
    assert recode(x, "bf16", "bf16", None) is x


def test_rows_that_are_not_finite_are_found_in_every_tier():
    x = np.ones((4, 2, 3), np.float32)
    x[1, 0, 0], x[3, 1, 1] = np.nan, np.inf
    assert not_finite_rows(x, "fp32").tolist() == [False, True, False, True]
    assert not_finite_rows(narrow(x), "bf16").tolist() == [False, True, False, True]
    stored = np.zeros((2, 3, 8), np.int8)
    stored[1, 2] = -1
    assert not_finite_rows(stored, "int8").tolist() == [False, True]
