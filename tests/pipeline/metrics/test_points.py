"""Found points against true ones."""

import numpy as np
import pytest

from visual_thought.pipeline.metrics.points import PointScores, match_points, score_points


def test_each_true_point_is_found_once() -> None:
    true = np.array([[10.0, 10.0], [50.0, 10.0]])
    found = np.array([[11.0, 10.0], [12.0, 10.0], [70.0, 10.0]])
    assert match_points(found, true, within_px=10) == 1
    assert match_points(found, true, within_px=25) == 2


def test_the_distance_is_inclusive() -> None:
    found, true = np.array([[0.0, 10.0]]), np.array([[0.0, 0.0]])
    assert match_points(found, true, within_px=10) == 1
    assert match_points(found, true, within_px=9.99) == 0


def test_nothing_found_and_nothing_there() -> None:
    none = np.zeros((0, 2))
    assert match_points(none, none, within_px=10) == 0
    assert match_points(np.zeros((2, 2)), none, within_px=10) == 0
    assert PointScores(0, 0, 0).f1 == PointScores(0, 0, 3).precision == PointScores(0, 2, 0).recall == 0


def test_scores_are_pooled_over_images() -> None:
    true = [np.array([[0.0, 0.0], [40.0, 0.0]]), np.array([[5.0, 5.0]])]
    found = [np.array([[1.0, 0.0]]), np.array([[5.0, 5.0], [90.0, 90.0]])]
    scores = score_points(found, true, within_px=3)
    assert scores == PointScores(2, 3, 3)
    assert scores.f1 == pytest.approx(2 / 3)
    assert scores.precision == scores.recall == pytest.approx(2 / 3)
