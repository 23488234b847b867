"""The bench of the evaluation, at a size that takes seconds."""

import pytest

from visual_thought.evaluate.bench.evaluation import bench_eval
from visual_thought.pipeline.errors import ConfigError, MachineError


def test_it_judges_as_many_simulated_queries_as_asked_for_and_leaves_nothing(tmp_path):
    found = bench_eval(tmp_path, size="tiny", queries=100, quiet=True)
    (line,) = found.cases[0].lines
    assert line.name == "192 queries"  # two test episodes of 64 queries, and one of validation
    assert "SIMULATED" in found.render()
    assert not list(tmp_path.iterdir())


def test_nothing_to_measure_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="nothing to measure"):
        bench_eval(tmp_path, size="tiny", queries=0)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(MachineError):
        bench_eval(tmp_path / "nowhere", size="tiny", queries=10)
