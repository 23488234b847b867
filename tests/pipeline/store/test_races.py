"""Writers that race, in real processes."""

import pytest

from visual_thought.pipeline.store import FeatureStore

from .lanes import FORMATS_IN_TURN
from .processes import run_crashes
from .toys import a_spec, files_below, filled_store, read_all, some_values

ROWS = 3 * 128 + 5  # four parts


def undisturbed(path, store_format):
    store, _ = filled_store(path, rows=ROWS, store_format=store_format)
    return store


@pytest.fixture(params=FORMATS_IN_TURN)
def store_format(request):
    return request.param


def test_racing_processes_agree_on_every_part(tmp_path, store_format):
    (parts,) = run_crashes("race", tmp_path / "store", store_format, ROWS, 4)
    assert parts == 4
    found = read_all(FeatureStore.open(tmp_path / "store"))
    written = [some_values(a_spec(), ROWS, seed=seed) for seed in range(4)]
    for start in range(0, ROWS, 128):
        rows = slice(start, start + 128)
        assert sum((found[rows] == values[rows]).all() for values in written) == 1


def test_the_same_work_makes_the_same_store_bit_for_bit(tmp_path, store_format):
    one, two = undisturbed(tmp_path / "one", store_format), undisturbed(tmp_path / "two", store_format)
    assert files_below(one.path) == files_below(two.path)
