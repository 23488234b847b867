import pytest

from visual_thought.evaluate.bench.rounds import AGAIN, Spread, control, interleave, speed


class Log(list):
    """Contenders that write their names down and take the seconds they are told to."""

    def contender(self, name, *seconds):
        def run():
            self.append(name)
            return list(seconds)

        return run

    def turns(self, size):
        return [tuple(self[start : start + size]) for start in range(0, len(self), size)]


def test_everybody_runs_in_every_turn_of_every_round_in_changing_order():
    log, names = Log(), "abcd"
    seconds = interleave({name: log.contender(name, 1.0) for name in names}, rounds=5, slices=3, label="x", quiet=True)
    turns = log.turns(4)
    assert len(turns) == 15
    assert all(sorted(turn) == list(names) for turn in turns)
    assert len(set(turns)) > 5
    assert seconds == {name: 5 * [1.0] for name in names}


def test_the_same_seed_gives_the_same_order_and_another_another():
    def order(seed):
        log = Log()
        runs = {name: log.contender(name, 1.0) for name in "abcdef"}
        interleave(runs, rounds=3, label="x", quiet=True, seed=seed)
        return list(log)

    assert order(0) == order(0)
    assert order(0) != order(1)


def test_a_round_counts_as_the_median_of_all_that_it_took():
    times = iter([[1.0, 9.0], [2.0], [5.0], [3.0, 4.0, 100.0]])
    seconds = interleave({"a": lambda: next(times)}, rounds=2, slices=2, label="x", quiet=True)
    assert seconds == {"a": [2.0, 4.5]}


def test_progress_goes_to_standard_error_unless_quiet(capsys):
    for quiet in (False, True):
        interleave({"a": lambda: [1.0]}, rounds=1, label="batches of 7", quiet=quiet)
        said = capsys.readouterr()
        assert said.out == ""
        assert ("batches of 7" in said.err) is not quiet


def test_a_ratio_is_taken_inside_a_round():
    """The machine was ten times slower in the second round, which changes no ratio."""
    seconds = {"ours": [1.0, 10.0, 2.0], "plain": [2.0, 20.0, 3.0]}
    assert speed(seconds, "ours", "plain") == Spread(2.0, 1.5, 2.0)
    assert speed(seconds, "plain", "ours") == Spread(0.5, 0.5, 1 / 1.5)
    assert speed(seconds, "ours", "ours") == Spread(1.0, 1.0, 1.0)


def test_the_control_is_a_contender_against_itself():
    seconds = {"plain": [2.0, 4.0, 3.0], "plain" + AGAIN: [1.0, 5.0, 3.0]}
    assert control(seconds, "plain") == Spread(1.0, 0.8, 2.0)


def test_rounds_of_different_contenders_must_be_as_many():
    with pytest.raises(ValueError, match="longer"):
        speed({"a": [1.0], "b": [1.0, 2.0]}, "a", "b")


@pytest.mark.parametrize(
    ("values", "spread", "text"),
    [
        ([1.0], Spread(1.0, 1.0, 1.0), "1.00 [1.00-1.00]"),
        ([3.0, 1.0, 2.0], Spread(2.0, 1.0, 3.0), "2.00 [1.00-3.00]"),
        ([4.0, 1.0], Spread(2.5, 1.0, 4.0), "2.50 [1.00-4.00]"),
    ],
)
def test_a_spread_is_the_median_and_the_range(values, spread, text):
    assert Spread.of(iter(values)) == spread
    assert spread.render() == text
