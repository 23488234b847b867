"""The rules by which examples are chosen."""

from dataclasses import replace

import numpy as np

from visual_thought.evaluate.examples import before_and_after, choose_examples, two_executions, two_views, typical


def where(rows, row):
    return int(rows.episode[row]), rows.camera[row], int(rows.frame[row]), rows.instruction[row]


def test_two_views_are_one_moment_before_the_grasp_from_every_camera(rows):
    example = two_views(rows)
    assert [where(rows, row) for row in example.rows] == [
        (0, "main", 0, "take the red cube"),
        (0, "top", 0, "take the red cube"),
    ]
    assert example.title == "“take the red cube”, one moment from 2 cameras"


def test_a_moment_that_one_camera_does_not_see_is_passed_over(rows):
    cells = rows.cells.copy()
    hidden = [i for i in range(len(rows)) if where(rows, i)[:3] == (0, "top", 0)]
    cells[hidden] = False
    assert where(rows, two_views(replace(rows, cells=cells)).rows[0])[2] == 1


def test_before_and_after_stay_with_one_episode_camera_and_instruction(rows):
    before, after = before_and_after(rows).rows
    assert where(rows, before)[:2] == where(rows, after)[:2] == (0, "main")
    assert (rows.phase[before], rows.phase[after]) == ("approach", "carry")
    assert rows.frame[before] < rows.frame[after]


def test_two_executions_are_two_episodes_after_the_grasp(rows):
    example = two_executions(rows)
    assert [int(rows.episode[row]) for row in example.rows] == [0, 1]
    assert {rows.target[row] for row in example.rows} == {"box"}


def test_the_typical_rows_are_the_medians_of_their_kinds(rows):
    scores = np.random.default_rng(0).random(len(rows))
    positive, negative = typical(rows, scores).rows
    assert rows.positive[positive]
    assert not rows.positive[negative]
    assert scores[positive] == np.sort(scores[rows.positive])[11]


def test_a_good_score_never_changes_which_moment_is_shown(rows):
    low, high = (choose_examples(rows, np.full(len(rows), s)) for s in (0.0, 1.0))
    assert low == high
    assert len(low) == 4


def test_rows_without_phases_leave_only_the_typical_examples(rows):
    unknown = replace(rows, phase=tuple("" for _ in rows.phase))
    assert [e.name for e in choose_examples(unknown, np.zeros(len(rows)))] == ["grounding_typical"]
