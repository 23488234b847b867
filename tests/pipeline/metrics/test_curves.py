"""Sweeps, average precision and groups against loops."""

import math

import numpy as np
import pytest

from visual_thought.pipeline.metrics.curves import (
    SWEEP,
    average_precision,
    best_threshold,
    count_by,
    groups_of,
    threshold_sweep,
)
from visual_thought.pipeline.metrics.grounding import Counts, count_cells, f_score, sigmoid


def random_case(seed):
    rng = np.random.default_rng(seed)
    logits = np.round(rng.normal(size=(8, 20)), 1)  # rounded, so that scores tie
    return logits, rng.random((8, 20)) < sigmoid(logits) * 0.3


def test_a_sweep_counts_every_threshold_as_a_single_count_would():
    logits, targets = random_case(0)
    sweep = threshold_sweep(logits, targets)
    assert [point.threshold for point in sweep] == list(SWEEP)
    assert all(point.counts == count_cells(logits, targets, point.threshold) for point in sweep)


def test_a_higher_threshold_never_adds_a_positive_decision():
    said = [p.counts.tp + p.counts.fp for p in threshold_sweep(*random_case(1))]
    assert said == sorted(said, reverse=True)


def test_average_precision_equals_a_loop_over_distinct_scores():
    logits, targets = random_case(2)
    scores, before, total = sigmoid(logits), 0.0, 0.0
    for score in sorted(set(scores.ravel().tolist()), reverse=True):
        said = scores >= score
        found = (said & targets).sum() / targets.sum()
        total += (found - before) * (said & targets).sum() / said.sum()
        before = found
    assert average_precision(logits, targets) == pytest.approx(total, abs=1e-12)


def test_average_precision_is_one_for_a_perfect_order_and_the_prior_when_all_scores_tie():
    targets = np.array([[True, False, False, True]])
    assert average_precision(np.where(targets, 1.0, -1.0), targets) == 1.0
    assert average_precision(np.zeros((1, 4)), targets) == 0.5
    assert math.isnan(average_precision(np.zeros((1, 4)), np.zeros((1, 4), dtype=bool)))


def test_the_best_threshold_beats_every_other_score_when_tried_one_by_one():
    logits, targets = random_case(3)
    chosen = best_threshold(logits, targets)
    tried = {t: f_score(count_cells(logits, targets, t)) for t in np.unique(sigmoid(logits))}
    assert tried[chosen] == max(tried.values())
    assert chosen == max(t for t, f in tried.items() if f == max(tried.values()))


def test_the_best_threshold_without_a_positive_cell_is_one_half():
    assert best_threshold(np.zeros((2, 3)), np.zeros((2, 3), dtype=bool)) == 0.5
    assert best_threshold(np.zeros((0, 3)), np.zeros((0, 3), dtype=bool)) == 0.5


def test_groups_partition_the_rows_and_their_counts_add_up():
    logits, targets = random_case(4)
    labels = ["top", "main", "top", "", "main", "main", "top", ""]
    assert list(groups_of(labels)) == ["", "main", "top"]
    assert sum(count_by(labels, logits, targets).values(), Counts()) == count_cells(logits, targets)
    assert count_by(labels, logits, targets)["main"] == count_cells(logits[[1, 4, 5]], targets[[1, 4, 5]])
