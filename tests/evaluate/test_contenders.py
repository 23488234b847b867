"""Beside the head: which checkpoint a control is of, and what it scores where that suits it best."""

import json

import pytest

from visual_thought.evaluate.config import EvalConfig
from visual_thought.evaluate.run import evaluate
from visual_thought.pipeline.metrics.grounding import f_score

TRAINED = ("instruction_blind", "linear_probe")


def judge(folder, out, **changes):
    return evaluate(EvalConfig(**{"runs": (folder / "run",), "out": out, "device": "cpu", "figures": False} | changes))


@pytest.fixture(scope="module")
def report(trained_once, tmp_path_factory):
    return judge(trained_once, tmp_path_factory.mktemp("report"))


def named(report, name):
    return next(one for one in report.runs[0].contenders if one.name == name)


def test_every_contender_says_of_which_step_it_is_in_table_page_and_json(report, trained_once):
    links = {"head": "best", **{name: f"best-{name}" for name in TRAINED}}
    steps = {name: int((trained_once / "run" / link).resolve().name) for name, link in links.items()}
    told = ", ".join(f"{name} {step}" for name, step in steps.items())
    assert f"\nsteps: {told}\n" in (report.out / "table.txt").read_text()
    assert f"steps: {told}" in (report.out / "table.md").read_text()
    assert told.replace("_", " ") in (report.out / "report.html").read_text()
    contenders = json.loads((report.out / "metrics.json").read_text())["runs"][0]["contenders"]
    assert {name: one["step"] for name, one in contenders.items()} == {**steps, "centre_prior": None}


@pytest.mark.parametrize("name", TRAINED)
def test_a_control_is_judged_once_more_at_the_threshold_with_its_highest_f_on_val(report, trained_once, tmp_path, name):
    own = named(report, name).own
    alone = named(judge(trained_once, tmp_path / "at", threshold=own.threshold), name)
    assert own.scores == alone.scores
    assert alone.own is None
    on_val = named(judge(trained_once, tmp_path / "val", split="val"), name)
    assert on_val.own.threshold == own.threshold
    assert f_score(on_val.own.scores.counts) >= max(f_score(point.counts) for point in on_val.sweep)


def test_both_thresholds_of_a_control_and_what_knows_none_stand_in_every_table(report):
    own = named(report, "linear_probe").own
    title = f"linear_probe @{own.threshold:.2f}"
    lines = (report.out / "table.txt").read_text().splitlines()
    heading = next(line for line in lines if line.startswith("test "))
    assert "AP" in heading.split()
    rows = [next(line for line in lines if line.startswith(f"  {start}")) for start in ("linear_probe  ", title)]
    scores = [named(report, "linear_probe").scores, own.scores]
    place = heading.split().index("AP")
    for row, found in zip(rows, scores, strict=True):
        values = row.strip().removeprefix(title).removeprefix("linear_probe").split()
        assert values[0] == f"{f_score(found.counts):.3f}"
        assert values[place - 2] == f"{found.average_precision:.3f}"  # "test" and the two words of "F 0.25"
    assert "| AP |" in (report.out / "table.md").read_text()
    assert f"| {title} |" in (report.out / "table.md").read_text()
    page = (report.out / "report.html").read_text()
    assert title.replace("_", " ") in page
    assert "average precision" in page
