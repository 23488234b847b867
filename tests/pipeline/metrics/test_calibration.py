"""Calibration and the precision-recall curve against loops over cells."""

import numpy as np
import pytest

from visual_thought.pipeline.metrics.calibration import calibrate
from visual_thought.pipeline.metrics.curves import average_precision, precision_recall_curve
from visual_thought.pipeline.metrics.grounding import sigmoid


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 2, (30, 9)).round(1)  # rounding makes ties
    return logits, rng.random((30, 9)) < sigmoid(logits - 0.7)


def test_bins_error_and_brier_equal_loops_over_cells(cells):
    logits, truth = cells
    bins = [[] for _ in range(10)]
    brier = 0.0
    for a, y in zip(logits.ravel(), truth.ravel(), strict=True):
        s = 1 / (1 + np.exp(-a))
        bins[min(int(s * 10), 9)].append((s, y))
        brier += (s - y) ** 2 / truth.size
    error = sum(len(b) / truth.size * abs(sum(s for s, _ in b) - sum(y for _, y in b)) / len(b) for b in bins if b)
    found = calibrate(logits, truth)
    assert found.error == pytest.approx(error)
    assert found.brier == pytest.approx(brier)
    assert [b.cells for b in found.bins] == [len(b) for b in bins]
    for one, of in zip(found.bins, bins, strict=True):
        assert one.score == pytest.approx(np.mean([s for s, _ in of]))
        assert one.frequency == pytest.approx(np.mean([y for _, y in of]))


def test_the_error_over_scored_cells_and_the_base_rate_equal_loops_over_cells(cells):
    logits, truth = cells
    bins, scored, relevant = {}, 0, 0
    for a, y in zip(logits.ravel(), truth.ravel(), strict=True):
        s = 1 / (1 + np.exp(-a))
        relevant += y
        if s >= 0.1:
            scored += 1
            bins.setdefault(min(int(s * 10), 9), []).append((s, y))
    error = sum(len(b) / scored * abs(np.mean([s for s, _ in b]) - np.mean([y for _, y in b])) for b in bins.values())
    found = calibrate(logits, truth)
    assert found.scored_cells == scored < truth.size
    assert found.scored_error == pytest.approx(error)
    assert found.base_rate == pytest.approx(relevant / truth.size)


def test_who_scores_every_cell_at_the_base_rate_has_no_error_over_all_cells_and_none_to_tell_over_scored_ones():
    truth = np.zeros((5, 20), dtype=bool)
    truth[:, 0] = True
    found = calibrate(np.full(truth.shape, np.log(0.05 / 0.95)), truth)
    assert found.error == pytest.approx(0.0, abs=1e-12)
    assert found.base_rate == pytest.approx(0.05)
    assert np.isnan(found.scored_error)


def test_certain_and_right_is_perfect_certain_and_wrong_is_the_worst():
    truth = np.array([[True, False]])
    right, wrong = (calibrate(sign * np.array([[np.inf, -np.inf]]), truth) for sign in (1, -1))
    assert (right.error, right.brier) == (0.0, 0.0)
    assert (wrong.error, wrong.brier) == (1.0, 1.0)


def test_scores_that_are_the_frequencies_have_no_error():
    truth = np.array([[True] * 3 + [False] * 7])
    assert calibrate(np.full((1, 10), np.log(3 / 7)), truth).error == pytest.approx(0.0, abs=1e-12)


def test_without_cells_nothing_is_measured():
    found = calibrate(np.zeros((0, 9)), np.zeros((0, 9), bool))
    assert np.isnan(found.error)
    assert all(b.cells == 0 and np.isnan(b.score) for b in found.bins)


def test_the_curve_equals_a_loop_over_thresholds(cells):
    logits, truth = cells
    curve = precision_recall_curve(logits, truth)
    thresholds = sorted(set(sigmoid(logits).ravel().tolist()), reverse=True)
    assert [point.threshold for point in curve] == thresholds
    for point in curve:
        called = [y for s, y in zip(sigmoid(logits).ravel(), truth.ravel(), strict=True) if s >= point.threshold]
        assert point.precision == pytest.approx(sum(called) / len(called))
        assert point.recall == pytest.approx(sum(called) / truth.sum())


def test_the_area_under_the_steps_of_the_curve_is_the_average_precision(cells):
    curve = precision_recall_curve(*cells)
    recalls = [0.0, *(point.recall for point in curve)]
    area = sum((recalls[i + 1] - recalls[i]) * point.precision for i, point in enumerate(curve))
    assert area == pytest.approx(average_precision(*cells))


def test_a_thinned_curve_holds_points_of_the_whole_one_and_its_last(cells):
    whole, thin = precision_recall_curve(*cells), precision_recall_curve(*cells, most=12)
    assert len(thin) <= 12
    assert set(thin) <= set(whole)
    assert thin[-1] == whole[-1]


def test_without_a_relevant_cell_there_is_no_curve():
    assert precision_recall_curve(np.zeros((2, 3)), np.zeros((2, 3), bool)) == ()
