"""View consistency and phase shift on cases counted by hand, and against loops."""

import numpy as np
import pytest

from visual_thought.pipeline.metrics.phases import phase_shift
from visual_thought.pipeline.metrics.views import view_consistency


def test_moments_are_counted_by_what_their_points_lie_on():
    cases = [  # (target, what each camera's point lies on)
        ("cube", ["cube", "cube"]),
        ("cube", ["cube", "box"]),
        ("cube", ["box", "box"]),
        ("cube", ["", ""]),
        ("cube", ["cube", ""]),
        ("cube", ["cube"]),
        ("box", ["box", "box", "box"]),
    ]
    moment = np.array([n for n, (_, views) in enumerate(cases) for _ in views])
    target = [asked for asked, views in cases for _ in views]
    landed = [found for _, views in cases for found in views]
    found = view_consistency(moment, target, landed)
    assert (found.moments, found.same, found.right, found.split) == (6, 3, 2, 2)
    assert (found.same_rate, found.right_rate) == (0.5, pytest.approx(1 / 3))


def test_the_order_of_views_does_not_matter():
    rng = np.random.default_rng(0)
    moment, names = rng.integers(0, 20, 60), np.array(["", "box", "cube"])
    target, landed = names[1 + moment % 2], names[rng.integers(0, 3, 60)]
    order = rng.permutation(60)
    assert view_consistency(moment, target, landed) == view_consistency(moment[order], target[order], landed[order])


def test_without_a_second_view_nothing_is_measured():
    found = view_consistency(np.arange(3), ["a"] * 3, ["a"] * 3)
    assert found.moments == 0
    assert np.isnan(found.same_rate)


CUBE, BOX, CELLS = 2, 7, 9


def execution(number, before, after):
    """Rows of one execution: (score of the cube's cell, of the box's) before and after the grasp."""
    for frame, (cube, box) in enumerate([*before, *after]):
        scores = np.full(CELLS, 0.1)
        scores[CUBE], scores[BOX] = cube, box
        late = frame >= len(before)
        yield scores, np.arange(CELLS) == (BOX if late else CUBE), number, frame, late


def shift_of(*executions):
    rows = [row for one in executions for row in one]
    scores, cells, number, frame, after = (np.array(column) for column in zip(*rows, strict=True))
    return phase_shift(scores, cells, number, frame, after)


GOOD = ([(0.9, 0.1), (0.8, 0.2), (0.3, 0.6)], [(0.2, 0.9), (0.1, 0.7)])
ALWAYS_CUBE = ([(0.9, 0.1)] * 2, [(0.9, 0.1)] * 3)


def test_relevance_that_moves_counts_and_relevance_that_stays_does_not():
    found = shift_of(execution(0, *GOOD), execution(1, *ALWAYS_CUBE))
    assert (found.executions, found.moved) == (2, 1)
    before = [np.mean([0.8, 0.6, -0.3]), 0.8]
    after = [np.mean([-0.7, -0.6]), 0.8]
    assert found.before == pytest.approx(np.mean(before))
    assert found.after == pytest.approx(np.mean(after))
    assert found.shift == pytest.approx(np.mean(before) - np.mean(after))


def test_what_never_changes_its_mind_does_not_shift():
    assert shift_of(execution(0, *ALWAYS_CUBE)).shift == pytest.approx(0.0)
    assert shift_of(execution(0, *ALWAYS_CUBE)).moved_rate == 0.0


def test_frames_are_compared_with_where_the_source_was_last_and_the_destination_first():
    """The cube moves from cell 2 to cell 3 before it is grasped; afterwards only cell 3 is its place."""
    rows = [
        (np.eye(CELLS)[2], np.arange(CELLS) == 2, 0, 0, False),
        (np.eye(CELLS)[3], np.arange(CELLS) == 3, 0, 1, False),
        (np.eye(CELLS)[3], np.arange(CELLS) == BOX, 0, 2, True),
    ]
    found = shift_of(rows)
    assert (found.before, found.after) == (1.0, 1.0)


def test_the_order_of_rows_does_not_matter():
    rows = [*execution(0, *GOOD), *execution(1, *ALWAYS_CUBE)]
    assert shift_of(rows) == shift_of([rows[i] for i in np.random.default_rng(0).permutation(len(rows))])


def test_an_execution_seen_on_one_side_only_or_with_equal_cells_is_left_out():
    same = [(scores, np.arange(CELLS) == CUBE, n, f, late) for scores, _, n, f, late in execution(1, *GOOD)]
    found = shift_of(execution(0, GOOD[0], []), same)
    assert found.executions == 0
    assert np.isnan(found.shift)


def test_negative_rows_are_left_out():
    absent = (np.full(CELLS, 0.99), np.zeros(CELLS, bool), 0, 9, True)
    assert shift_of([*execution(0, *GOOD), absent]) == shift_of(execution(0, *GOOD))


def looped_shift(scores, cells, execution, frame, after):
    """The same definition by loops over frames and cells."""
    found = []
    for number in sorted(set(execution.tolist())):
        rows = sorted((int(f), i) for i, f in enumerate(frame) if execution[i] == number and any(cells[i]))
        early, late = ([i for _, i in rows if bool(after[i]) == side] for side in (False, True))
        margins = {False: [], True: []}
        for i in [*early, *late] if early and late else []:
            is_late = i in late
            source = {c for c in range(cells.shape[1]) if cells[early[-1] if is_late else i, c]}
            destination = {c for c in range(cells.shape[1]) if cells[i if is_late else late[0], c]}
            if source - destination and destination - source:
                best = [max(scores[i, c] for c in own) for own in (source - destination, destination - source)]
                margins[is_late].append(best[0] - best[1])
        if margins[False] and margins[True]:
            found.append((margins[False], margins[True]))
    moved = 0
    for before, past in found:
        moved += 2 * sum(m > 0 for m in before) > len(before) and 2 * sum(m < 0 for m in past) > len(past)
    means = [[sum(pair[side]) / len(pair[side]) for pair in found] for side in (0, 1)]
    return len(found), moved, *(sum(one) / len(one) for one in means)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_loops_over_frames_and_cells_find(seed):
    rng = np.random.default_rng(seed)
    rows, cells = 60, 6
    frame = np.concatenate([rng.permutation(12) for _ in range(5)])
    execution = np.repeat(np.arange(5), 12)
    scores, truth = rng.random((rows, cells)), rng.random((rows, cells)) < 0.3
    truth[execution == 4] &= frame[execution == 4, None] < 6  # one execution without a frame after its grasp
    after = frame >= rng.integers(4, 9, 5)[execution]
    after[execution == 4] = frame[execution == 4] >= 6
    scores += 0.6 * truth * (execution > 0)[:, None]
    found = phase_shift(scores, truth, execution, frame, after)
    executions, moved, before, past = looped_shift(scores, truth, execution, frame, after)
    assert (found.executions, found.moved) == (executions, moved)
    assert 0 < found.moved <= found.executions < 5
    assert (found.before, found.after) == (pytest.approx(before), pytest.approx(past))
