"""Which examples a step sees."""

import numpy as np

from visual_thought.train.sampling import BlindExchange, Draw, EpochOrder, InOrder, WindowOrder, permute_within

EXAMPLES = np.arange(10, 17)


def test_every_example_comes_once_an_epoch_in_another_order_each_time():
    order = EpochOrder(EXAMPLES, 3, seed=5)
    seen = np.concatenate([order(step).examples for step in range(7)])  # 21 = 3 epochs
    epochs = seen.reshape(3, 7)
    for epoch in epochs:
        assert sorted(epoch) == list(EXAMPLES)
    assert not np.array_equal(epochs[0], epochs[1])


def test_a_batch_larger_than_the_split_runs_over_several_epochs():
    draw = EpochOrder(EXAMPLES, 16, seed=5)(0)
    assert draw.epochs.tolist() == [0] * 7 + [1] * 7 + [2] * 2
    assert sorted(draw.examples[7:14]) == list(EXAMPLES)


def test_a_step_is_the_same_whenever_it_is_asked_for():
    first = EpochOrder(EXAMPLES, 3, seed=5)
    steps = [first(step).examples.tolist() for step in range(30)]
    again = EpochOrder(EXAMPLES, 3, seed=5)
    assert [again(step).examples.tolist() for step in reversed(range(30))][::-1] == steps
    assert EpochOrder(EXAMPLES, 3, seed=6)(0).examples.tolist() != steps[0]


def test_validation_goes_through_the_examples_as_they_stand():
    plan = InOrder(EXAMPLES, 3)
    assert [plan(step).examples.tolist() for step in range(len(plan))] == [[10, 11, 12], [13, 14, 15], [16]]


def test_queries_are_exchanged_within_their_frame_only():
    groups = np.array([4, 0, 4, 1, 0, 4, 2])
    permutation = permute_within(groups, np.random.default_rng(0))
    assert sorted(permutation) == list(range(7))
    assert np.array_equal(groups[permutation], groups)


def test_over_many_epochs_every_query_stands_for_every_other_equally_often():
    exchange, every = BlindExchange(np.zeros(3, dtype=np.int64), seed=1), np.arange(3)
    table = np.zeros((3, 3))
    for epoch in range(3000):
        table[every, exchange(Draw(0, every, np.full(3, epoch)))] += 1 / 3000
    assert np.abs(table - 1 / 3).max() < 0.04


def test_an_exchange_is_fixed_within_an_epoch_and_new_in_the_next():
    groups = np.repeat(np.arange(40), 3)
    exchange, every = BlindExchange(groups, seed=1), np.arange(120)
    first, second = (exchange(Draw(0, every, np.full(120, epoch))) for epoch in (0, 1))
    assert np.array_equal(exchange(Draw(9, every[::-1], np.zeros(120, dtype=int))), first[::-1])
    assert not np.array_equal(first, second)


PARTS = np.arange(100) // 10
WINDOW = {"batch_size": 7, "seed": 5, "window": 3}


def windowed(**options):
    return WindowOrder(np.arange(100, 200), PARTS, **(WINDOW | options))


def epochs_of(order, count):
    seen = np.concatenate([order(step).examples for step in range(-(-100 * count // order.batch_size))])
    return seen[: 100 * count].reshape(count, 100)


def test_a_windowed_order_has_every_example_once_an_epoch_in_another_order_each_time():
    first, second = epochs_of(windowed(), 2)
    assert sorted(first) == sorted(second) == list(range(100, 200))
    assert not np.array_equal(first, second)


def test_a_window_holds_whole_parts_in_random_order_and_mixes_them():
    for epoch in epochs_of(windowed(), 3):
        parts = (epoch - 100) // 10
        for start in range(0, 90, 30):
            held = parts[start : start + 30]
            assert len(set(held.tolist())) == 3
            assert (np.diff(held) != 0).sum() > 10
    orders = [((epoch - 100) // 10)[:30] for epoch in epochs_of(windowed(), 6)]
    assert len({frozenset(order.tolist()) for order in orders}) > 3


def test_a_windowed_step_is_the_same_whenever_it_is_asked_for():
    first, again = windowed(), windowed()
    steps = [first(step).examples.tolist() for step in range(40)]
    assert [again(step).examples.tolist() for step in reversed(range(40))][::-1] == steps
    assert windowed(seed=6)(0).examples.tolist() != steps[0]


def test_a_window_as_large_as_the_store_is_a_full_shuffle():
    first, second = epochs_of(windowed(window=99), 2)
    assert len(set(((first[:30] - 100) // 10).tolist())) > 3
    assert sorted(second) == list(range(100, 200))


def test_every_window_is_announced_before_it_is_drawn_from_and_only_once():
    order, announced = windowed(), []
    for step in range(100):  # 7 epochs
        announced += order.ahead(step, first=step == 0).tolist()
        assert set(order(step + 1).examples.tolist()) <= set(announced)
    for epoch in np.reshape(announced[:700], (7, 100)):
        assert sorted(epoch) == list(range(100, 200))


def test_a_resumed_run_announces_the_window_it_starts_in():
    order = windowed()
    announced = set(order.ahead(12, first=True).tolist())
    assert set(order(12).examples.tolist()) | set(order(13).examples.tolist()) <= announced
