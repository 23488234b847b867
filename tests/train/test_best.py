"""Which validation is the best, above all among equals."""

import math

import pytest
from grounding_toys import config_for

from visual_thought.train import loop
from visual_thought.train.best import Best, better
from visual_thought.train.journal import read_journal
from visual_thought.train.run import train
from visual_thought.train.tasks.ground import GroundTask


def chosen(validations, sign=1.0):
    best = None
    for step, (value, loss) in enumerate(validations, start=1):
        best = better(best, step, value, loss, sign=sign)
    return best


@pytest.mark.parametrize(
    ("validations", "sign", "step", "since"),
    [
        ([(0.5, 1.0), (0.7, 9.0), (0.6, 0.1)], 1.0, 2, 2),
        ([(0.5, 1.0), (0.3, 9.0), (0.4, 0.1)], -1.0, 2, 2),
        ([(0.0, 3.0), (0.0, 1.0), (0.0, 2.0)], 1.0, 2, 1),
        ([(0.0, 3.0), (0.0, 3.0), (0.0, 3.0)], 1.0, 3, 1),
        ([(0.1, 3.0), (0.2, 3.0), (0.2, 2.0)], 1.0, 3, 2),
        ([(0.0, 3.0), (0.0, math.nan), (0.0, None)], 1.0, 1, 1),
        ([(0.0, None), (0.0, math.nan)], 1.0, 2, 1),
        ([(math.nan, 0.0), (0.1, 3.0), (math.nan, 0.0)], 1.0, 2, 2),
    ],
)
def test_the_metric_decides_then_the_lower_loss_then_the_later_step(validations, sign, step, since):
    found = chosen(validations, sign)
    assert (found.step, found.since) == (step, since)


def test_nothing_is_the_best_where_no_value_is_a_number():
    assert chosen([(math.nan, 1.0), (math.inf, 1.0)]) is None


def test_a_loss_that_nobody_wrote_down_gives_way_to_an_equal_that_is_known():
    assert better(Best(4, 0.5), 8, 0.5, 2.0, sign=1.0) == Best(8, 0.5, 2.0, 4)


def test_a_contender_that_never_decides_keeps_its_lowest_loss_and_patience_ends_as_before(
    toys_once, tmp_path, monkeypatch
):
    metrics = GroundTask.metrics
    monkeypatch.setattr(GroundTask, "metrics", lambda task, arrays: metrics(task, arrays) | {"f_0_25": 0.0})
    judged = loop.scores
    losses = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr(loop, "scores", lambda *seen: judged(*seen) | {"loss": next(losses)})
    config = config_for(
        toys_once, str(tmp_path / "run"), controls=[], steps=30, eval_freq=3, eval_train_rows=0, early_stop=2
    )
    done = train(config)
    assert [line["step"] for line in read_journal(done.run_dir) if line["kind"] == "validation"] == [3, 6, 9]
    assert done.path.resolve().name == "000006"
    assert done.step == 6
    assert (done.run_dir / "last").resolve().name == "000009"
