"""Which examples a step sees."""

import numpy as np

from visual_thought.train.sampling import BlindExchange, Draw, EpochOrder, InOrder, permute_within

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
