"""What a reader sees: widths, alignment, order."""

import json

import numpy as np
import pytest

from visual_thought.evaluate.ceiling import ceiling
from visual_thought.evaluate.config import EvalConfig
from visual_thought.evaluate.report import ContenderReport, Report, RunReport
from visual_thought.evaluate.rows import Answers
from visual_thought.evaluate.scores import score, score_by
from visual_thought.evaluate.tables import markdown_table, terminal_table
from visual_thought.pipeline.metrics.curves import threshold_sweep


def contender(name, rows, seed, threshold=0.5):
    rng = np.random.default_rng(seed)
    answers = Answers(rng.normal(-2, 2, size=rows.cells.shape), rng.uniform(0, 48, size=(len(rows), 2)))
    scores = score(answers, rows, threshold)
    sweep = threshold_sweep(answers.logits, rows.cells)
    return ContenderReport(name, threshold, scores, score_by(answers, rows, threshold), sweep, scores)


@pytest.fixture
def report(rows, tmp_path):
    contenders = tuple(
        contender(name, rows, seed, threshold)
        for seed, (name, threshold) in enumerate(
            [("head", 0.5), ("instruction_blind", 0.5), ("linear_probe", 0.5), ("centre_prior", 0.21)]
        )
    )
    run = RunReport(
        run="ground-default-with-a-rather-long-name",
        path=tmp_path / "run",
        checkpoint="best",
        step=51_000,
        split="test",
        dataset="tabletop_cubes",
        episodes=3,
        simulated=True,
        store=tmp_path / "store",
        features={"z": "z-00000000"},
        contenders=contenders,
        ceiling=ceiling(rows, (4, 4), (8, 8)),
        notes=("no figures: the dataset is not here",),
    )
    return Report(EvalConfig((run.path,), tmp_path), (run,))


def test_the_terminal_table_fits_into_100_columns_and_its_columns_line_up(report):
    lines = terminal_table(report).splitlines()
    assert max(map(len, lines)) <= 100
    start = next(i for i, line in enumerate(lines) if line.startswith("test "))
    assert len({len(line) for line in lines[start : start + 6]}) == 1


def test_the_headline_comes_first_and_the_controls_stand_under_the_head(report):
    text = terminal_table(report)
    assert text.startswith("ground-default-with-a-rather-long-name: F 0.25 ")
    places = [text.index(name) for name in ("\nhead ", "instruction_blind", "linear_probe", "centre_prior @0.21")]
    assert places == sorted(places)
    assert "SIMULATED" in text
    assert "no figures: the dataset is not here" in text


def test_every_markdown_table_has_as_many_cells_in_each_row_as_in_its_heading(report):
    blocks = [block.splitlines() for block in markdown_table(report).split("\n\n") if block.startswith("| ")]
    assert len(blocks) == 7  # test, val, by target, camera, phase and episode, perfect cells
    for block in blocks:
        assert len({line.count("|") for line in block}) == 1


def test_the_json_holds_every_contender_with_groups_sweep_and_val(report):
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    run = data["runs"][0]
    assert data["schema"] == 1
    assert list(run["contenders"]) == ["head", "instruction_blind", "linear_probe", "centre_prior"]
    assert set(run["contenders"]["head"]) == {
        *("step", "threshold", "scores", "val", "losses", "groups", "sweep", "own_threshold"),
    }
    assert set(run["contenders"]["head"]["groups"]) == {"target", "camera", "phase", "episode"}
    assert len(run["contenders"]["head"]["sweep"]) == 19
