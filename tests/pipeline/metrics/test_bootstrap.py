"""The bootstrap against loops over drawn episodes, and what it says where the answer is known."""

import numpy as np
import pytest

from visual_thought.pipeline.metrics.bootstrap import EpisodeSums, draw_episodes, paired_bootstrap, ratio


def share(sums):
    return ratio(sums["part"], sums["whole"])


def made(seed, shift=0.0, episodes=12):
    """Rows of several episodes; ``shift`` is added to every row's part."""
    rng = np.random.default_rng(seed)
    episode = np.repeat(np.arange(episodes) * 3, rng.integers(2, 9, episodes))
    hard = np.repeat(rng.normal(0, 5, episodes), np.bincount(episode)[::3])
    rows = {"part": hard + rng.normal(0, 0.1, len(episode)) + shift, "whole": np.ones(len(episode))}
    return episode, rows


def test_sums_by_episode_equal_a_loop_over_rows():
    episode, rows = made(0)
    sums = EpisodeSums.of(episode, rows)
    assert sums.episodes.tolist() == sorted(set(episode.tolist()))
    for place, number in enumerate(sums.episodes):
        expected = sum(value for value, of in zip(rows["part"], episode, strict=True) if of == number)
        assert sums.values["part"][place] == pytest.approx(expected)


def test_the_interval_equals_a_loop_that_counts_drawn_episodes_one_by_one():
    first, second = EpisodeSums.of(*made(1)), EpisodeSums.of(*made(1, shift=0.3))
    found = paired_bootstrap(first, second, share, draws=200, seed=4)
    changes = []
    for times in draw_episodes(len(first.episodes), 200, 4):
        values = []
        for sums in (first, second):
            part = sum(n * value for n, value in zip(times, sums.values["part"], strict=True))
            whole = sum(n * value for n, value in zip(times, sums.values["whole"], strict=True))
            values.append(part / whole)
        changes.append(values[1] - values[0])
    assert found.low == pytest.approx(np.percentile(changes, 2.5))
    assert found.high == pytest.approx(np.percentile(changes, 97.5))
    assert found.difference == pytest.approx(0.3)


def test_every_draw_holds_as_many_episodes_as_there_are():
    draws = draw_episodes(7, 50, 0)
    assert (draws.sum(axis=1) == 7).all()
    assert len(np.unique(draws, axis=0)) > 40


def test_pairing_finds_a_small_difference_that_episodes_of_different_difficulty_would_hide():
    found = paired_bootstrap(EpisodeSums.of(*made(2)), EpisodeSums.of(*made(2, shift=0.3)), share)
    assert found.clear
    assert found.p < 0.01
    assert found.high - found.low < 0.05


def test_a_run_beside_itself_differs_by_nothing_and_p_is_one():
    sums = EpisodeSums.of(*made(3))
    found = paired_bootstrap(sums, sums, share)
    assert (found.difference, found.low, found.high, found.p, found.clear) == (0.0, 0.0, 0.0, 1.0, False)


def test_exchanging_the_runs_turns_the_interval_round():
    one, other = EpisodeSums.of(*made(4)), EpisodeSums.of(*made(4, shift=-0.2))
    there, back = paired_bootstrap(one, other, share), paired_bootstrap(other, one, share)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.p == pytest.approx(back.p)


def test_about_one_in_twenty_intervals_of_equal_runs_leaves_out_nothing():
    rng = np.random.default_rng(0)
    clear = 0
    for _ in range(200):
        runs = [EpisodeSums(np.arange(40), {"part": rng.normal(size=40), "whole": np.ones(40)}) for _ in range(2)]
        clear += paired_bootstrap(*runs, share, draws=400).clear
    assert 2 <= clear <= 24


def test_draws_that_define_no_metric_are_left_out_and_without_any_the_interval_is_nan():
    rare = {"part": np.array([1.0, 0.0]), "whole": np.array([1.0, 0.0])}
    sums = EpisodeSums(np.arange(2), rare)
    assert 0 < paired_bootstrap(sums, sums, share, draws=100).draws < 100
    nothing = EpisodeSums(np.arange(2), {"part": np.zeros(2), "whole": np.zeros(2)})
    found = paired_bootstrap(nothing, nothing, share, draws=100)
    assert found.draws == 0
    assert np.isnan([found.low, found.high, found.p]).all()


def test_other_episodes_are_refused():
    with pytest.raises(ValueError, match="same episodes"):
        paired_bootstrap(EpisodeSums.of(*made(5)), EpisodeSums.of(*made(5, episodes=11)), share)
