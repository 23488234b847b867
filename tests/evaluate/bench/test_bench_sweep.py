"""The bench of sweeps measures what it says, on a few rows."""

import pytest

from visual_thought.evaluate.bench.sweep import Effort, bench_sweep


@pytest.mark.slow
def test_the_bench_measures_every_case_and_leaves_nothing_behind(tmp_path):
    found = bench_sweep(tmp_path, Effort(1, 1, (2,), (2,), (1,), 64), full_size=False, quiet=True)
    as_one, recipe, shared = found.cases
    assert [line.name for line in as_one.lines] == ["one head", "8 heads in turn", "8 heads as one"]
    assert all(line.ratios["times one head"].median > 0 for line in as_one.lines)
    assert [bar.wanted for bar in as_one.lines[2].bars] == ["less than 4 x the time of one"]
    assert [line.bars for line in recipe.lines] == [(), (), ()]
    assert "decoder 1 x 32, head 32" in as_one.title
    assert "decoder 2 x 128, head 128" in recipe.title
    assert [line.name for line in shared.lines] == ["a pass each", "one pass", "reading alone"]
    assert shared.notes[0].startswith("sharing saves")
    assert list(tmp_path.iterdir()) == []
