"""Pages of experts' runs and of several runs, from real, short evaluations."""

import sys
from pathlib import Path

import pytest

from visual_thought.evaluate.config import EvalConfig
from visual_thought.evaluate.page.collect import page_of
from visual_thought.evaluate.run import evaluate
from visual_thought.train.run import train

from ..toy_run import train_config

sys.path.append(str(Path(__file__).parents[2] / "train"))
from expert_toys import expert_config, make_experts


@pytest.fixture(scope="module")
def experts(tmp_path_factory):
    """The report of one evaluation of a run of each expert task."""
    folder = tmp_path_factory.mktemp("experts")
    make_experts(folder)
    for task in ("distill", "dense"):
        train(expert_config(task, folder, task))
    runs = (folder / "distill", folder / "dense")
    return {run.name: evaluate(EvalConfig((run,), folder / f"{run.name}-eval", device="cpu")) for run in runs}


@pytest.fixture(scope="module")
def compared(trained_once, tmp_path_factory):
    """The report of two seeds of one recipe, compared."""
    folder = tmp_path_factory.mktemp("seeds")
    for seed in (0, 1):
        train(train_config(trained_once, str(folder / f"seed{seed}"), steps=40, eval_freq=20, seed=seed))
    config = EvalConfig((folder / "seed0", folder / "seed1"), folder / "out", device="cpu", compare=True, figures=False)
    return evaluate(config)


def titled(items, title):
    return next(item for item in items if item.title == title)


def column(table, heading):
    return [row[table.columns.index(heading)] for row in table.rows]


@pytest.mark.parametrize(
    ("task", "labels", "paper"),
    [
        ("distill", ["MSE", "Best control", "R²", "Cosine"], "As the paper's table 1"),
        ("dense", ["MSE", "Best control", "Corner F1", "True corner F1"], "As the paper's table 2"),
    ],
)
def test_a_page_of_an_expert_s_run_has_its_own_summary_and_the_paper_s_table(experts, task, labels, paper):
    page, scores = page_of(experts[task]), experts[task].runs[0].head.scores.to_json()
    assert [number.label for number in page.summary] == labels
    assert float(page.summary[0].value) == pytest.approx(scores["mse"], rel=1e-3)
    assert any(item.title.startswith(paper) for item in page.tables)
    assert "positive" not in page.subtitle


@pytest.mark.parametrize("task", ["distill", "dense"])
def test_the_best_control_has_the_lowest_error(experts, task):
    errors = {c.name: c.scores.to_json()["mse"] for c in experts[task].runs[0].contenders[1:]}
    best = page_of(experts[task]).summary[1]
    assert best.note == f"MSE of {min(errors, key=errors.get).replace('_', ' ')}"


@pytest.mark.parametrize("task", ["distill", "dense"])
def test_the_weakest_groups_of_an_error_come_highest_first(experts, task, tmp_path):
    run = experts[task].runs[0].path
    report = evaluate(EvalConfig((run,), tmp_path, split="train", device="cpu", figures=False))  # of several episodes
    whole = report.runs[0].head.scores.to_json()["mse"]
    table = titled(page_of(report).failures, "Where the head is weakest")
    weakest = [float(value) for value in column(table, "MSE")]
    assert weakest == sorted(weakest, reverse=True)
    assert min(weakest) >= whole * (1 - 1e-3)


@pytest.mark.parametrize(("task", "picture"), [("distill", "tokens"), ("dense", "maps")])
def test_the_picture_of_an_expert_s_run_is_missed_with_the_dataset(experts, task, picture):
    page = page_of(experts[task])
    assert [figure.title for figure in page.figures] == ["Training"]
    assert any(line.startswith(f"no picture of {picture}: the dataset could not be read") for line in page.missing)


@pytest.mark.parametrize("task", ["distill", "dense"])
def test_the_cost_names_the_seconds_of_the_evaluation_itself(experts, task):
    run, table = experts[task].runs[0], titled(page_of(experts[task]).cost, "Seconds and bytes")
    stages = {row[0]: row for row in table.rows}
    judged = stages["evaluate, test and val"]
    assert judged[1].endswith(" s")
    assert run.seconds["judge"] > 0
    assert judged[2] == f"{run.head.scores.rows + run.head.val.rows:,}"
    assert stages["draw 1 figure"]


def test_a_comparison_names_the_run_that_is_better_metric_by_metric(compared):
    table = titled(page_of(compared).tables, "The second run against the first")
    by_name = dict(zip(compared.comparison.differences, table.rows, strict=True))
    lower = {"point_error_mean_px", "false_alarm_rate"}
    for name, found in compared.comparison.differences.items():
        second = (found.second < found.first) == (name in lower)
        expected = ("seed1" if second else "seed0") if found.clear else "not told apart"
        assert by_name[name][-1] == expected
    assert {row[-1] for row in table.rows} & {"seed0", "seed1"}
    assert any("too narrow" in note for note in table.notes)


def test_seeds_of_one_recipe_have_mean_and_interval_on_the_page(compared):
    table = titled(page_of(compared).tables, "Over seeds, on test")
    interval = compared.seeds[0].intervals["head"]["f_0_25"]
    assert column(table, "F 0.25")[0] == f"{interval.mean:.3f} ± {interval.half:.3f}"


def test_the_evaluation_of_several_runs_is_one_command_that_names_them_all(compared):
    commands = [item for item in page_of(compared).provenance if item.title.startswith("How to make it again")]
    first, second = (one.commands[-1].line for one in commands)
    assert first == second
    for word in ("seed0 ", "seed1 ", " --compare", " --no-figures"):
        assert word in first
