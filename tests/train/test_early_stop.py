"""A run that gets no better ends, and stays ended."""

import pytest
from grounding_toys import config_for

from visual_thought.train.journal import read_journal
from visual_thought.train.run import train

HOPELESS = {"optimizer": {"lr": 1e-12}, "steps": 30, "eval_freq": 3, "eval_train_rows": 0, "early_stop": 2}


def everything(run_dir):
    return {path.relative_to(run_dir): path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}


@pytest.fixture
def stopped(toys_once, tmp_path):
    return train(config_for(toys_once, str(tmp_path / "run"), **HOPELESS, controls=[], tensorboard=True))


def test_it_ends_after_so_many_validations_without_a_better_one_and_says_so(stopped):
    steps = [line["step"] for line in read_journal(stopped.run_dir) if line["kind"] == "validation"]
    assert steps == [3, 6, 9]
    notes = [(line["step"], line["text"]) for line in read_journal(stopped.run_dir) if line["kind"] == "note"]
    assert notes == [(9, "stopped early: 2 validations of the head without a better one")]
    assert stopped.step == 9  # all three are equal, and the latest of equals is the best
    assert (stopped.run_dir / "last").resolve().name == "000009"


def test_resuming_it_does_nothing(toys_once, stopped):
    before = everything(stopped.run_dir)
    config = config_for(toys_once, str(stopped.run_dir), **HOPELESS, controls=[], tensorboard=True, resume=True)
    assert train(config).metrics == stopped.metrics
    assert everything(stopped.run_dir) == before


def test_given_more_patience_it_goes_on_to_where_it_would_have_come(toys_once, stopped, tmp_path):
    patient = HOPELESS | {"early_stop": 0}
    whole = train(config_for(toys_once, str(tmp_path / "whole"), **patient, controls=[]))
    again = train(config_for(toys_once, str(stopped.run_dir), **patient, controls=[], resume=True))
    name = "last/model.safetensors"
    assert (again.run_dir / name).read_bytes() == (whole.run_dir / name).read_bytes()


def test_a_run_that_gets_better_goes_on(toys_once, tmp_path):
    train(config_for(toys_once, str(tmp_path / "run"), controls=[], early_stop=3))
    assert (tmp_path / "run" / "last").resolve().name == "000012"
