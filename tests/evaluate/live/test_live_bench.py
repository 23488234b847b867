"""The latency bench on the tiny backbone."""

import json

import pytest

from visual_thought.pipeline.cli import run


@pytest.mark.timeout(300)
def test_every_stage_is_measured_and_what_is_simulated_is_said(lab, tmp_path, capsys):
    assert run(["bench", "predict", "--tiny", "--rounds", "2", "--dir", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["simulated"], told["batch_size"]) == (True, 1)
    stages = told["milliseconds"]
    assert set(stages) == {"decode", "preprocess", "backbone", "head", "draw"}
    assert all(len(values) == 2 and min(values) > 0 for values in stages.values())
    assert told["parameters"]["backbone"] > 1e6
    assert list(tmp_path.iterdir()) == []


def test_no_round_is_a_usage_error(tmp_path, capsys):
    assert run(["bench", "predict", "--tiny", "--rounds", "0", "--dir", str(tmp_path)]) == 2
    assert "nothing to measure" in capsys.readouterr().err
