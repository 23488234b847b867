"""Corners out of maps: places in the original frame, angles, and what is counted."""

import math

import numpy as np
import pytest
import torch
from expert_toys import corner_of, y_spec, y_values
from grounding_toys import frame_rows

from visual_thought.train.tasks.corners import COUNTS, CornerDecoder, corner_metrics, count_corners

SIZES = np.full((8, 2), 96)
FIVE = (3, 1, 0, 4, 2)


def points(*places: tuple[float, float], angle: float = 0.0):
    return np.array(places, dtype=float).reshape(-1, 2), np.full(len(places), angle)


@pytest.mark.parametrize("channels", [(0, 1, 2), (2, 1, 0), (1, 0), FIVE])
def test_perfect_maps_give_their_corners_in_pixels_of_the_frame(channels):
    frames = frame_rows(1, 8)
    decode = CornerDecoder(y_spec(channels))
    found = decode(y_values(frames, channels), SIZES)
    for row, (xy, angle) in zip(frames.to_pylist(), found, strict=True):
        x, y = corner_of(row)
        assert np.abs(xy[0] - [2 * x + 1, 2 * y + 1]).max() <= 3.0  # the maps are pooled by two
        assert np.isnan(angle).all() == (not decode.turns)
        if decode.turns:
            assert angle[0] == pytest.approx(math.atan2(4, 3), abs=1e-3)


def test_maps_without_directions_hold_no_corners():
    assert not CornerDecoder(y_spec((0, 2))).works
    assert CornerDecoder(y_spec((1, 0))).works
    assert not CornerDecoder(y_spec((0, 1, 3))).turns


def test_counts_are_of_found_taught_and_true_corners():
    found, teacher = points((10, 10), (50, 50), angle=0.1), points((12, 10), (90, 90), angle=-0.2)
    true = np.array([[10.0, 11.0], [np.nan, np.nan], [89.0, 90.0]])
    counts = count_corners(found, teacher, true, within_px=5)
    expected = {"found": 2, "teacher": 2, "hits": 1, "true": 2, "true_hits": 1, "teacher_hits": 2}
    assert {name: counts[name] for name in expected} == expected
    assert counts["turn"] == pytest.approx(0.3)
    assert set(counts) == set(COUNTS)


def test_an_angle_is_measured_the_short_way_round():
    counts = count_corners(points((1, 1), angle=3.1), points((1, 1), angle=-3.1), None, within_px=5)
    assert counts["turn"] == pytest.approx(2 * math.pi - 6.2)
    assert "true" not in counts


def test_metrics_are_pooled_over_images():
    images = [
        count_corners(points((1, 1)), points((1, 1), (40, 40)), np.array([[1.0, 1.0]]), within_px=5),
        count_corners(points((1, 1), (9, 60)), points(), np.array([[9.0, 61.0]]), within_px=5),
    ]
    metrics = corner_metrics({name: sum(one[name] for one in images) for name in COUNTS}, turns=True)
    assert metrics["corner_precision"] == pytest.approx(1 / 3)
    assert metrics["corner_recall"] == pytest.approx(1 / 2)
    assert metrics["corner_f1"] == pytest.approx(2 / 5)
    assert metrics["true_corner_f1"] == pytest.approx(4 / 5)
    assert metrics["teacher_true_corner_f1"] == pytest.approx(2 / 4)
    assert metrics["corner_angle_deg"] == 0.0


def test_nothing_found_and_nothing_there_scores_zero_and_no_angle():
    nothing = count_corners(points(), points(), np.full((2, 2), np.nan), within_px=5)
    metrics = corner_metrics(nothing, turns=True)
    assert metrics["corner_f1"] == metrics["true_corner_f1"] == metrics["teacher_true_corner_f1"] == 0.0
    assert math.isnan(metrics["corner_angle_deg"])


def test_flat_maps_hold_no_point():
    (found,) = CornerDecoder(y_spec((0, 1)))(torch.zeros(1, 2, 24, 24), SIZES[:1])
    assert found[0].shape == (0, 2)


def test_a_higher_score_keeps_fewer_points():
    maps = y_values(frame_rows(1, 8), (0, 1)) + 0.3 * torch.randn(
        8, 2, 24, 24, generator=torch.Generator().manual_seed(0)
    )
    many, few, none = (CornerDecoder(y_spec((0, 1)), score)(maps, SIZES) for score in (0.1, 1.0, 2.5))
    assert sum(len(xy) for xy, _ in many) > sum(len(xy) for xy, _ in few) > sum(len(xy) for xy, _ in none) == 0
    assert all(set(map(tuple, a)) >= set(map(tuple, b)) for (a, _), (b, _) in zip(many, few, strict=True))
