"""The paper's numbers as they are written down, against the paper's own arithmetic and the shipped recipes."""

from pathlib import Path

import pytest

from visual_thought.evaluate.paper.published import CHECKPOINTS, RECIPES, ROWS, differing, published_row
from visual_thought.evaluate.recipe import flattened
from visual_thought.pipeline.config import build, to_plain
from visual_thought.pipeline.metrics.grounding import Counts, f_score, precision, recall
from visual_thought.train.config import build_config
from visual_thought.train.sweep.cells import cell_config, entries
from visual_thought.train.sweep.config import SweepConfig, load_sweep

POSITIVE_CELLS = 1302
DERIVED = {"distill": {"decoder.dim": 768, "decoder.num_queries": 850}, "dense": {}, "ground": {"head.name": "ground"}}


def flat(config):
    """As a run would record it: with what the task fills in."""
    return dict(flattened(to_plain(config))) | DERIVED[config.task]


def test_counts_give_precision_recall_and_f_to_the_printed_digit():
    for row in (*ROWS[3], *CHECKPOINTS.values()):
        fp, fn = row.values["val.fp"], row.values["val.fn"]
        counts = Counts(POSITIVE_CELLS - fn, fp, fn)
        for name, score in (("precision", precision), ("recall", recall), ("f_0_25", f_score)):
            assert f"{score(counts):.3f}" == f"{row.values[f'val.{name}']:.3f}", (row, name)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_every_row_of_a_shipped_sweep_has_the_papers_beside_it(number, tmp_path):
    source, file = load_sweep(f"table{number}")
    values = {"source": source, "file": file, "store": tmp_path / "s", "manifest": "m", "out": tmp_path / "o"}
    config = build(SweepConfig, values, source="the test")
    cells, lines = entries(file)
    rows = {cell.name: published_row(number, flat(cell_config(config, cell, seed=0))) for cell in cells}
    assert all(rows[line.cell] is not None for line in lines)
    assert len({id(row) for row in rows.values()}) == len(cells) == len(ROWS[number])


@pytest.mark.parametrize(("number", "recipe"), [(1, "distill"), (2, "dense"), (3, "ground"), (4, "ground")])
def test_a_shipped_recipe_is_the_papers_until_one_setting_is_another(number, recipe):
    places = {"store": Path("s"), "manifest": "m", "out": Path("o")}
    config = flat(build_config(recipe, **places))
    assert differing(number, config) == ()
    for setting in RECIPES[number]:
        changed = config | {setting.key: "another"}
        assert [found.key for found in differing(number, changed)] == [setting.key]


def test_a_setting_that_the_paper_does_not_have_gets_no_row():
    config = flat(build_config("ground", ["optimizer.lr=1e-5"], store=Path("s"), manifest="m", out=Path("o")))
    assert differing(3, config) == ()
    assert published_row(3, config) is None
