"""The centre prior against a loop, and where its threshold comes from."""

from dataclasses import replace

import numpy as np
import pytest

from visual_thought.evaluate.controls import cell_prior, centre_prior, prior_threshold
from visual_thought.pipeline.metrics.grounding import count_cells, f_score, sigmoid

GRID = (4, 4)


def test_the_cell_prior_equals_a_loop_over_the_training_rows(rows):
    prior = cell_prior(rows.cells, rows.camera)
    for camera in ("main", "top"):
        for cell in range(16):
            mine = [rows.cells[i, cell] for i in range(len(rows)) if rows.camera[i] == camera]
            assert prior[camera][cell] == pytest.approx(sum(mine) / len(mine))


def test_the_centre_prior_answers_by_camera_alone_and_its_scores_are_the_prior(rows):
    answers, prior = centre_prior(rows, rows, GRID), cell_prior(rows.cells, rows.camera)
    for row, camera in enumerate(rows.camera):
        np.testing.assert_allclose(sigmoid(answers.logits[row]), prior[camera], atol=1e-12)
        best = int(np.argmax(prior[camera]))
        np.testing.assert_allclose(answers.points[row], [(best % 4 + 0.5) * 16, (best // 4 + 0.5) * 12])


def test_a_cell_that_was_always_or_never_relevant_scores_one_or_zero(rows):
    always = rows.cells.copy()
    always[:, 0], always[:, 1] = True, False
    answers = centre_prior(replace(rows, cells=always), rows, GRID)
    assert (sigmoid(answers.logits[:, 0]) == 1.0).all()
    assert (sigmoid(answers.logits[:, 1]) == 0.0).all()


def test_a_camera_that_training_never_saw_gets_no_positive_cell(rows):
    elsewhere = replace(rows, camera=tuple("side" for _ in rows.camera))
    answers = centre_prior(elsewhere, rows, GRID)
    assert (sigmoid(answers.logits) == 0.0).all()


def test_the_prior_threshold_is_the_best_one_on_the_validation_rows(rows):
    rng = np.random.default_rng(0)
    val = replace(rows, cells=rng.random(rows.cells.shape) < 0.2)
    chosen = prior_threshold(rows, val, GRID)
    logits = centre_prior(rows, val, GRID).logits
    tried = [f_score(count_cells(logits, val.cells, t)) for t in np.unique(sigmoid(logits))]
    assert f_score(count_cells(logits, val.cells, chosen)) == pytest.approx(max(tried))
