"""Means and intervals."""

import math

import numpy as np
import pytest

from visual_thought.train.sweep.intervals import Interval, t_95


def share_inside(t: float, freedom: int) -> float:
    """The mass of Student's density between -t and t, by adding up."""
    x = np.linspace(-t, t, 200_001)
    log_scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - 0.5 * math.log(freedom * math.pi)
    return float(np.trapezoid(np.exp(log_scale - (freedom + 1) / 2 * np.log1p(x**2 / freedom)), x))


@pytest.mark.parametrize("freedom", [1, 2, 3, 7, 15, 30, 31, 60, 1000])
def test_ninety_five_percent_lie_inside(freedom):
    assert share_inside(t_95(freedom), freedom) == pytest.approx(0.95, abs=1e-5)


def test_an_interval_is_the_textbooks():
    found = Interval.of([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.half == pytest.approx(4.3027 / math.sqrt(3), rel=1e-6)
    assert found.render(2) == "2.00 ± 2.48"


def test_one_value_has_no_interval_and_none_no_mean():
    assert Interval.of([0.5, None, math.nan]).render() == "0.500"
    assert Interval.of([None]).render() == "-"
