"""Columns whose numbers stand under each other."""

import pytest

from visual_thought.evaluate.decimals import decimals, fitted
from visual_thought.evaluate.layouts import DENSE, DISTILL, LAYOUTS


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.08131, 0.174, 0.1162], 4),
        ([12.31, 9.5], 2),
        ([12345.6], 0),
        ([100.0, 0.004], 4),
        ([3e-12], 8),
        ([0.0, float("nan")], 1),
        ([], 1),
    ],
)
def test_decimals_are_those_of_the_largest_number_and_of_the_smallest(values, expected):
    assert decimals(values) == expected


@pytest.mark.parametrize("layout", [DISTILL, DENSE])
def test_every_number_of_a_column_has_as_many_decimals_as_the_others(layout):
    rows = [{column.key: value for column in layout.columns} for value in (0.08131, 0.174, 0.02)]
    for column in fitted(layout.columns, rows):
        assert len({len(column.value(numbers).partition(".")[2]) for numbers in rows}) == 1
        assert not column.form.endswith("g")


def test_the_legend_of_corners_says_how_near_a_corner_counts_as_found():
    assert "corner_px" in LAYOUTS["dense"].legend
    assert "10 unless told otherwise" in LAYOUTS["dense"].legend
