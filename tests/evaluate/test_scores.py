"""A contender's numbers against loops over rows."""

import json
import math

import numpy as np
import pytest

from visual_thought.evaluate.ceiling import ceiling, nearest_centres
from visual_thought.evaluate.rows import Answers
from visual_thought.evaluate.scores import score, score_by
from visual_thought.pipeline.metrics.grounding import Counts, f_score

GRID, FINE = (4, 4), (8, 8)


def answers_for(rows, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 2, size=rows.cells.shape)
    return Answers(logits, rng.uniform((0, 0), (64, 48), size=(len(rows), 2)))


def test_every_number_equals_a_loop_over_rows(rows):
    answers = answers_for(rows)
    hit, error, alarms, negatives = [], [], 0, 0
    for row in range(len(rows)):
        if rows.positive[row]:
            x, y = answers.points[row]
            hit.append(bool(rows.region(row)[math.floor(y), math.floor(x)]))
            error.append(math.hypot(x - rows.points[row][0], y - rows.points[row][1]))
        else:
            negatives += 1
            alarms += any(1 / (1 + math.exp(-a)) >= 0.5 for a in answers.logits[row])
    scores = score(answers, rows, 0.5)
    assert (scores.hit_rate, scores.hit_rows) == (pytest.approx(sum(hit) / len(hit)), len(hit))
    assert scores.point_error_mean_px == pytest.approx(sum(error) / len(error))
    assert scores.point_error_median_px == pytest.approx((sorted(error)[11] + sorted(error)[12]) / 2)
    assert (scores.false_alarm_rate, scores.negative_rows) == (pytest.approx(alarms / negatives), negatives)


@pytest.mark.parametrize("by", ["target", "camera", "phase"])
def test_the_groups_of_any_grouping_add_up_to_the_whole(rows, by):
    answers = answers_for(rows)
    groups, whole = score_by(answers, rows, 0.5)[by], score(answers, rows, 0.5)
    assert sum((scores.counts for scores in groups.values()), Counts()) == whole.counts
    assert sum(scores.rows for scores in groups.values()) == whole.rows
    assert sum(s.hit_rate * s.hit_rows for s in groups.values() if s.hit_rows) == pytest.approx(
        whole.hit_rate * whole.hit_rows
    )


def test_negative_rows_are_a_target_group_of_their_own_with_nothing_to_hit(rows):
    groups = score_by(answers_for(rows), rows, 0.5)["target"]
    assert sorted(groups) == ["box", "negative", "red cube"]
    assert groups["negative"].hit_rows == 0
    assert groups["negative"].counts.positives == 0


def test_what_was_not_measured_is_null_in_json_and_never_nan(rows):
    groups = score_by(answers_for(rows), rows, 0.5)["target"]
    told = groups["negative"].to_json()
    assert told["hit_rate"] is told["point_error_median_px"] is told["average_precision"] is None
    json.dumps([scores.to_json() for scores in groups.values()], allow_nan=False)


def test_a_region_that_is_not_known_is_left_out_of_the_hit_rate_but_not_of_the_error(rows):
    from dataclasses import replace

    known = rows.region
    partly = replace(rows, region=lambda row: None if row < 24 else known(row))
    answers = answers_for(rows)
    scores = score(answers, partly, 0.5)
    assert scores.hit_rows == 12
    assert scores.point_error_mean_px == score(answers, rows, 0.5).point_error_mean_px


def test_perfect_cells_score_one_and_finer_centres_hit_at_least_as_near(rows):
    best = ceiling(rows, GRID, FINE)
    assert all(f_score(scores.counts) == 1.0 and scores.false_alarm_rate == 0.0 for scores in best.values())
    assert best["sub-cell centre"].point_error_mean_px < best["cell centre"].point_error_mean_px
    assert best["cell centre"].hit_rate < 1.0  # 4-pixel targets in 16x12-pixel cells: centres miss some of them
    assert list(ceiling(rows, GRID, None)) == ["cell centre"]


def test_a_perfect_point_is_never_farther_than_half_a_cell_from_the_true_one(rows):
    off = np.abs(nearest_centres(rows, GRID) - rows.points)[rows.positive]
    assert (off <= (8.0 + 1e-9, 6.0 + 1e-9)).all()
