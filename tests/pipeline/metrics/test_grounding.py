"""Metric definitions against the paper's printed numbers, loops and degenerate cases."""

import math

import numpy as np
import pytest

from visual_thought.pipeline.metrics.grounding import (
    Counts,
    count_cells,
    f_beta,
    f_score,
    hit_rate,
    hits,
    negative_false_alarm_rate,
    point_error_px,
    precision,
    recall,
    sigmoid,
)

POSITIVES = 1302
PRINTED = [  # FP, FN, precision, recall, F_0.25: the distinct rows of the paper's tables 3 (nine) and 4 (three more)
    (154, 476, "0.843", "0.634", "0.827"),
    (147, 481, "0.848", "0.631", "0.831"),
    (164, 539, "0.823", "0.586", "0.804"),
    (138, 467, "0.858", "0.641", "0.841"),
    (165, 485, "0.832", "0.627", "0.816"),
    (181, 439, "0.827", "0.663", "0.815"),
    (137, 476, "0.858", "0.634", "0.840"),
    (164, 444, "0.840", "0.659", "0.826"),
    (122, 499, "0.868", "0.617", "0.848"),
    (105, 715, "0.848", "0.451", "0.806"),
    (98, 571, "0.882", "0.561", "0.853"),
    (104, 518, "0.883", "0.602", "0.859"),
]


@pytest.mark.parametrize(("fp", "fn", "p", "r", "f"), PRINTED)
def test_every_row_of_the_papers_tables_3_and_4_comes_out_to_the_printed_digit(fp, fn, p, r, f):
    counts = Counts(tp=POSITIVES - fn, fp=fp, fn=fn)
    assert (f"{precision(counts):.3f}", f"{recall(counts):.3f}", f"{f_score(counts):.3f}") == (p, r, f)


def test_only_1302_positive_cells_fit_all_the_printed_rows():
    def fits(total):
        for fp, fn, *printed in PRINTED:
            counts = Counts(tp=total - fn, fp=fp, fn=fn)
            if [f"{v:.3f}" for v in (precision(counts), recall(counts), f_score(counts))] != printed:
                return False
        return True

    assert [total for total in range(800, 2000) if fits(total)] == [POSITIVES]


def random_case(seed, rows=6, cells=49):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, cells)).astype(np.float32)
    targets = rng.random((rows, cells)) < 0.1
    targets[:2] = False
    return logits, targets


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_counts_equal_a_loop_over_every_cell(threshold):
    logits, targets = random_case(0)
    tally = {"tp": 0, "fp": 0, "fn": 0, "tn": 0}
    for a_row, y_row in zip(logits, targets, strict=True):
        for a, y in zip(a_row, y_row, strict=True):
            said = 1 / (1 + math.exp(-float(a))) >= threshold
            tally[("t" if said == y else "f") + ("p" if said else "n")] += 1
    assert count_cells(logits, targets, threshold) == Counts(**tally)


def test_the_threshold_itself_counts_as_positive():
    assert count_cells(np.array([[0.0, -1e-6]]), np.array([[True, False]]), 0.5) == Counts(tp=1, tn=1)


def test_counts_of_two_halves_add_up_to_the_counts_of_the_whole():
    logits, targets = random_case(1)
    assert count_cells(logits[:3], targets[:3]) + count_cells(logits[3:], targets[3:]) == count_cells(logits, targets)


def test_shuffling_rows_and_cells_together_changes_no_count():
    logits, targets = random_case(2)
    order = np.random.default_rng(3).permutation(49)
    assert count_cells(logits[::-1, order], targets[::-1, order]) == count_cells(logits, targets)


def test_a_head_that_calls_nothing_positive_scores_zero_and_not_nan():
    counts = count_cells(np.full((2, 4), -9.0), np.eye(2, 4, dtype=bool))
    assert (precision(counts), recall(counts), f_score(counts)) == (0.0, 0.0, 0.0)


def test_no_positive_cell_and_no_rows_score_zero():
    assert recall(Counts(fp=3)) == precision(Counts()) == f_beta(0.0, 0.0) == 0.0
    assert count_cells(np.zeros((0, 49)), np.zeros((0, 49), dtype=bool)) == Counts()


def test_f_beta_is_the_harmonic_mean_at_one_and_prefers_precision_below_one():
    assert f_beta(0.5, 0.25, beta=1.0) == pytest.approx(2 / (1 / 0.5 + 1 / 0.25))
    assert f_beta(0.9, 0.6) > f_beta(0.6, 0.9)
    assert f_beta(0.7, 0.7) == pytest.approx(0.7)


def test_sigmoid_is_exact_at_the_ends_and_never_overflows():
    assert sigmoid(np.array([-np.inf, -1e4, 0.0, 1e4, np.inf])).tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_false_alarms_count_negative_rows_once_however_many_cells_they_light():
    logits = np.array([[5.0, 5.0, -5.0], [-5.0, -5.0, -5.0], [5.0, 5.0, 5.0]])
    targets = np.array([[False] * 3, [False] * 3, [True, False, False]])
    assert negative_false_alarm_rate(logits, targets) == 0.5


def test_false_alarms_without_a_negative_row_are_not_measured():
    assert math.isnan(negative_false_alarm_rate(np.zeros((1, 2)), np.array([[True, False]])))


def test_a_point_hits_only_inside_its_own_region_and_never_outside_the_frame():
    mask = np.zeros((4, 6), dtype=bool)
    mask[1, 2] = mask[3, 5] = True
    points = np.array([[2.0, 1.0], [2.99, 1.99], [3.0, 1.0], [5.5, 3.5], [-0.5, 1.5], [5.5, 4.0]])
    assert hits(points, [mask] * 6).tolist() == [True, True, False, True, False, False]
    assert hit_rate(points, lambda row: mask) == 0.5


def test_a_hit_rate_of_no_points_is_not_measured():
    assert math.isnan(hit_rate(np.zeros((0, 2)), []))


def test_point_error_is_the_euclidean_distance_in_pixels():
    error = point_error_px(np.array([[3.0, 4.0], [1.0, 1.0]]), np.array([[0.0, 0.0], [1.0, 1.0]]))
    assert error.tolist() == [5.0, 0.0]
