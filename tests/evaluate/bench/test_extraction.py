"""The bench of the extraction, quickly: everybody runs, the table holds together, nothing stays behind."""

import json

import pytest

from visual_thought.evaluate.bench.extract_run import bench_extract
from visual_thought.evaluate.bench.extraction import DECODE, FORWARD, NAIVE, TO_FORWARD, TO_NAIVE, WHOLE, WRITE
from visual_thought.pipeline.cli import run
from visual_thought.pipeline.errors import ConfigError

pytestmark = [
    pytest.mark.timeout(600),  # importing LeRobot alone takes up to a minute
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    found = bench_extract(folder, sizes=["tiny"], frames=24, rounds=1, batch_size=8, quiet=True)
    assert list(folder.iterdir()) == []
    return found


@pytest.mark.slow
def test_every_contender_has_a_line_with_its_ratios(bench):
    (case,) = bench.cases
    assert [line.name for line in case.lines] == [FORWARD, WHOLE, DECODE, WRITE, NAIVE]
    for line in case.lines:
        assert line.ratios[TO_FORWARD].median > 0 < line.ratios[TO_NAIVE].median
    assert case.lines[0].ratios[TO_FORWARD].median == 1
    assert len(case.lines[1].bars) == 2


@pytest.mark.slow
def test_the_table_names_what_bounds_and_is_plain_data(bench):
    assert any(f"bound by: {stage}" in bench.render() for stage in ("forward", "decode", "write"))
    json.dumps(bench.to_json(), allow_nan=False)


@pytest.mark.parametrize("wrong", [{"sizes": []}, {"rounds": 0}, {"frames": 1}, {"batch_size": 0}])
def test_nothing_to_measure_is_refused(tmp_path, wrong):
    with pytest.raises(ConfigError, match="nothing to measure"):
        bench_extract(tmp_path, **wrong)


def test_a_folder_that_is_not_there_is_an_error_of_the_machine(tmp_path):
    assert run(["bench", "extract", "--tiny", "--dir", str(tmp_path / "none")]) == 5
