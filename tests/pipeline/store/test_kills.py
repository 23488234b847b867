"""Two racing writers, killed at random points: nothing is lost, nothing is there twice, nothing is different."""

import pytest

from .lanes import FORMATS_IN_TURN
from .processes import run_crashes
from .toys import FORMAT_NAMES

ROWS = 5 * 128 + 5  # six parts


def kill(path, store_format, count):
    deaths, finished, lost = run_crashes("kill", path, store_format, ROWS, count)
    assert deaths >= count
    assert finished >= count // 40
    assert lost == 0


@pytest.mark.parametrize("store_format", FORMATS_IN_TURN)
def test_forty_killed_writers_lose_nothing_and_the_next_one_finishes(tmp_path, store_format):
    kill(tmp_path / "store", store_format, 40)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("store_format", FORMAT_NAMES)
def test_a_thousand_killed_writers_lose_nothing_and_the_next_one_finishes(tmp_path, store_format):
    kill(tmp_path / "store", store_format, 1000)


def test_of_two_formats_raced_for_one_array_one_wins(tmp_path):
    assert run_crashes("claim", tmp_path / "store", "zarr", 130, 10) == [10]
