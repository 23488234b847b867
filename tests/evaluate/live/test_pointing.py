"""What an answer says of itself."""

import numpy as np

from visual_thought.evaluate.live.pointing import Pointing

SCORES = np.array([[0.1, 0.2, 0.3], [0.4, 0.9, 0.6]])


def answer(x: float, y: float) -> Pointing:
    return Pointing(SCORES, (x, y), (0, 0, 1, 1), np.array([0.0, 10, 20, 30]), np.array([0.0, 15, 30]), (30, 30))


def test_the_score_where_the_point_lies_is_that_of_its_cell_and_need_not_be_the_highest() -> None:
    for row in range(2):
        for column in range(3):
            there = answer(10 * column + 5.0, 15 * row + 7.0)
            assert (there.score_there, there.score) == (SCORES[row, column], 0.9)
    assert answer(30.0, 30.0).score_there == 0.6
    assert answer(0.0, 0.0).score_there == 0.1
