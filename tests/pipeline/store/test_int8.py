"""int8: q = round(x / (s_t s_c)), its bound, its degenerate cases, and how its scale is measured."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visual_thought.pipeline.errors import StoreError, StoreMismatch
from visual_thought.pipeline.store.int8 import ChannelScale, dequantise, quantise, token_scales
from visual_thought.pipeline.store.scale import Moments, refuse_leak

from .tiers import a_manifest

SCALE = ChannelScale((0.5, 1.0, 3.0, 40.0), 10, "here")


def some_numbers(tokens=50, seed=0):
    return (np.random.default_rng(seed).standard_normal((tokens, 4)) * SCALE.array).astype(np.float32)


def test_loops_give_the_same_bytes():
    x = some_numbers(5)
    stored = quantise(x, SCALE)
    assert stored.shape == (5, 8)
    for token, row in zip(x, stored, strict=True):
        scaled = [np.float32(value) / np.float32(channel) for value, channel in zip(token, SCALE.values, strict=True)]
        size = np.float32(max(abs(value) for value in scaled) / np.float32(127))
        assert row[:4].tolist() == [round(float(value / size)) for value in scaled]
        assert row[4:].tobytes() == np.array(size, "<f4").tobytes()
        back = dequantise(row, SCALE)
        for channel in range(4):
            expected = np.float32(row[channel]) * size * np.float32(SCALE.values[channel])
            assert back[channel] == pytest.approx(expected, rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), exponent=st.integers(-60, 60))
def test_every_number_is_within_half_a_step(seed, exponent):
    x = some_numbers(20, seed) * np.float32(2.0**exponent)
    stored = quantise(x, SCALE)
    step = token_scales(stored)[:, None].astype(np.float64) * SCALE.array
    assert (np.abs(dequantise(stored, SCALE).astype(np.float64) - x) <= step / 2 * (1 + 1e-4)).all()
    assert np.abs(stored[:, :4].astype(int)).max(axis=1).tolist() == [127] * 20


def test_a_token_of_zeros_stays_one():
    x = some_numbers(3)
    x[1] = 0
    stored = quantise(x, SCALE)
    assert stored[1].tolist() == [0] * 8
    assert dequantise(stored, SCALE)[1].tolist() == [0] * 4


def test_the_smallest_numbers_become_zero_and_not_nan():
    stored = quantise(np.full((1, 4), 1e-45, np.float32), SCALE)
    assert np.isfinite(dequantise(stored, SCALE)).all()


def test_multiplying_a_channel_by_a_power_of_two_changes_no_stored_byte():
    x, factor = some_numbers(), np.array([1, 8, 0.25, 2], np.float32)
    other = ChannelScale(tuple(map(float, SCALE.array * factor)), SCALE.rows, SCALE.measured_on)
    assert quantise(x * factor, other).tobytes() == quantise(x, SCALE).tobytes()
    np.testing.assert_array_equal(dequantise(quantise(x, SCALE), other), dequantise(quantise(x, SCALE), SCALE) * factor)


def test_a_token_does_not_touch_another():
    x = some_numbers()
    alone = np.stack([quantise(token[None], SCALE)[0] for token in x])
    assert quantise(x, SCALE).tobytes() == alone.tobytes()
    assert quantise(x.reshape(5, 10, 4), SCALE).tobytes() == alone.tobytes()


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(strange):
    x = some_numbers(3)
    x[1, 2] = strange
    with pytest.raises(StoreError, match="NaN or infinite"):
        quantise(x, SCALE)


def test_a_number_far_beyond_its_channels_scale_is_refused_and_never_becomes_nan():
    tiny = ChannelScale((1e-30,) * 4, 1, "here")
    with pytest.raises(StoreError, match="too large"):
        quantise(np.full((1, 4), 3e38, np.float32), tiny)


def test_a_scale_of_ones_bits_reads_as_nan():
    assert np.isnan(dequantise(np.full((2, 8), -1, np.int8), SCALE)).all()


@pytest.mark.parametrize("values", [(1.0,) * 3, (1.0, 0.0, 1.0, 1.0), (1.0, -1.0, 1.0, 1.0), (math.inf,) * 4, (1,) * 4])
def test_a_scale_that_cannot_be_is_known(values):
    assert SCALE.fits(4)
    assert not ChannelScale(values, 1, "here").fits(4)


class TestMeasuring:
    def measured(self, rows):
        moments = Moments()
        for row in rows:
            moments.add(row)
        return moments.scale("here")

    def test_it_is_the_standard_deviation_by_loops(self):
        rows = 5 + some_numbers(12).reshape(4, 3, 4)
        scale = self.measured(rows)
        tokens = [token for row in rows.tolist() for token in row]
        for channel, found in enumerate(scale.values):
            mean = sum(token[channel] for token in tokens) / len(tokens)
            expected = math.sqrt(sum((token[channel] - mean) ** 2 for token in tokens) / len(tokens))
            assert found == pytest.approx(expected, rel=1e-6)
        assert (scale.rows, scale.measured_on) == (4, "here")

    def test_a_large_mean_costs_no_precision(self):
        """The textbook's E[x²] - E[x]² in float32 gives 0 here."""
        rows = np.random.default_rng(0).standard_normal((200, 7, 1)).astype(np.float32) + np.float32(900)
        assert self.measured(rows).values[0] == pytest.approx(rows.astype(np.float64).std(), rel=1e-6)

    def test_rows_in_another_order_give_the_same_scale(self):
        rows = some_numbers(60).reshape(20, 3, 4)
        np.testing.assert_allclose(self.measured(rows).array, self.measured(rows[::-1]).array, rtol=1e-6)

    def test_channels_that_do_not_vary_do_not_take_the_others_resolution(self):
        rows = np.random.default_rng(0).standard_normal((50, 6, 4)).astype(np.float32)
        rows[..., 1], rows[..., 2] = 0, 1000
        rows[..., 3] = 1000 + 1e-3 * rows[..., 3]
        scale = self.measured(rows)
        assert scale.values[0] == pytest.approx(rows[..., 0].std(), rel=1e-5)
        assert scale.values[1] == 1
        assert scale.values[2:] == pytest.approx((1000, 1000))
        back = dequantise(quantise(rows, scale), scale)
        assert np.abs(back - rows)[..., 0].max() < 0.05
        assert (back[..., 1] == 0).all()

    def test_nothing_and_what_is_not_finite_are_refused(self):
        with pytest.raises(StoreError, match="no row"):
            Moments().scale("here")
        with pytest.raises(StoreError, match="NaN"):
            Moments().add(np.full((2, 4), np.nan, np.float32))

    def test_a_scale_beyond_float32_is_refused(self):
        rows = np.array([[[3e38]], [[-3e38]]], np.float32)
        assert self.measured(rows).fits(1)
        tiny = np.array([[[1e-45]], [[-1e-45]]], np.float32)
        assert self.measured(tiny / np.float32(1)).fits(1)


@pytest.mark.parametrize(
    ("measured_on", "leaks"),
    [
        ("cubes (lab/cubes), split train, episodes 0-3, 7", False),
        ("old name (lab/cubes), split train, episodes 2", False),
        ("cubes (lab/cubes), split train, episodes 0-4", True),
        ("cubes (lab/cubes), split train, episodes 6", True),
        ("cubes (lab/else), split train, episodes 6", False),
        ("somebody's words", False),
        ("cubes (lab/cubes), split train, episodes 0-999999999", True),
        ("cubes (lab/cubes), split train, episodes 9-0", True),
    ],
)
def test_a_scale_leaks_if_one_of_its_episodes_is_not_trained_on(measured_on, leaks):
    scale, train = ChannelScale((1.0,), 1, measured_on), {0, 1, 2, 3, 7}
    if leaks:
        with pytest.raises(StoreMismatch, match="not trained on"):
            refuse_leak(scale, a_manifest(), train)
    else:
        refuse_leak(scale, a_manifest(), train)
