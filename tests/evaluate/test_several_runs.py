"""Runs beside each other on a real store: compared, over seeds, and beside a backbone of other features."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from visual_thought.evaluate.compare import compare
from visual_thought.evaluate.config import EvalConfig
from visual_thought.evaluate.findings import find, landed
from visual_thought.evaluate.page.collect import page_of
from visual_thought.evaluate.rows import Answers
from visual_thought.evaluate.run import evaluate
from visual_thought.evaluate.scores import score
from visual_thought.evaluate.tables import markdown_table, terminal_table
from visual_thought.evaluate.tallies import COMPARED, tally_ground
from visual_thought.pipeline.errors import ConfigError, StoreIncomplete, StoreMismatch
from visual_thought.pipeline.metrics.bootstrap import EpisodeSums
from visual_thought.train.run import train
from visual_thought.train.sweep.intervals import Interval

from .toy_run import make_store, train_config, write_manifest


@pytest.fixture(scope="module")
def runs(trained_once, tmp_path_factory):
    """``run`` (seed 0), ``other`` (seed 1), ``untrained`` (features of another backbone) and the folder they are in."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "run").symlink_to(trained_once / "run")
    places = {"manifest": str(trained_once / "tiny.yaml"), "steps": 20}
    make_store(folder / "random", numerics=2)
    train(train_config(trained_once, str(folder / "other"), seed=1))
    train(train_config(trained_once, str(folder / "untrained"), store=folder / "random", **places))
    return folder


def judge(out, *run_dirs, **changes):
    return evaluate(EvalConfig(**{"runs": run_dirs, "out": out, "device": "cpu", "figures": False} | changes))


@pytest.fixture(scope="module")
def compared(runs, tmp_path_factory):
    return judge(tmp_path_factory.mktemp("compared"), runs / "run", runs / "other", compare=True)


def test_both_sides_of_a_comparison_are_the_numbers_of_the_tables(compared):
    for name, found in compared.comparison.differences.items():
        first, second = (run.head.scores.to_json()[name] for run in compared.runs)
        assert found.first == pytest.approx(first)
        assert found.second == pytest.approx(second)
        assert found.difference == pytest.approx(second - first)


def test_metrics_from_episode_sums_equal_the_scores_of_the_same_rows(rows):
    rng = np.random.default_rng(0)
    answers = Answers(rng.normal(-2, 2, rows.cells.shape), rng.uniform(0, 48, (len(rows), 2)))
    sums = EpisodeSums.of(rows.episode, tally_ground(answers, rows, 0.5))
    scores = score(answers, rows, 0.5).to_json()
    for metric in COMPARED["ground"]:
        assert metric.of(sums.drawn(np.ones((1, len(sums.episodes)))))[0] == pytest.approx(scores[metric.name])
    middle = np.flatnonzero(rows.episode == 1)
    twice = score(Answers(answers.logits[middle], answers.points[middle]), rows.take(middle), 0.5).to_json()
    for metric in COMPARED["ground"]:
        assert metric.of(sums.drawn(np.array([[0.0, 2.0, 0.0]])))[0] == pytest.approx(twice[metric.name])


def test_a_single_episode_is_too_few_and_the_table_says_so(compared):
    assert compared.comparison.notes[-1] == "only 1 episodes: these intervals are too narrow"
    assert "too narrow" in terminal_table(compared)
    assert "too narrow" in markdown_table(compared)
    assert json.loads((compared.out / "metrics.json").read_text())["comparison"]["episodes"] == 1


def test_a_comparison_says_that_seeds_are_not_in_it_and_how_many_stars_stand_uncorrected(compared):
    page = (compared.out / "report.html").read_text(encoding="utf-8")
    starred = sum(found.clear for found in compared.comparison.differences.values())
    for text in (" ".join(terminal_table(compared).split()), markdown_table(compared), page):
        assert "not which seeds the runs were trained with" in text
        assert f"{starred} of 6 differences are clear" in text


def test_two_seeds_of_one_recipe_are_told_that_a_star_is_the_noise_of_seeds_and_other_recipes_are_not(runs, compared):
    assert any(
        "run and other are one recipe and differ in their seed alone" in note for note in compared.comparison.notes
    )
    first, second = compared.runs
    apart = compare(first, replace(second, recipe="another"))
    assert not any("one recipe" in note for note in apart.notes)
    assert any("not which seeds" in note for note in apart.notes)


def test_what_the_runs_come_to_together_stands_before_each_of_them(compared):
    for text in (terminal_table(compared), markdown_table(compared)):
        across, comparison, first = (text.index(word) for word in ("2 seeds", "difference", "of 1 episodes"))
        assert across < comparison < first


def test_two_cells_of_a_sweep_are_compared_under_names_that_tell_them_apart(runs, tmp_path):
    for cell, of in (("lr-1", "run"), ("lr-2", "other")):
        shutil.copytree(runs / of, tmp_path / cell / "seed-0", symlinks=True)
    cells = (tmp_path / "lr-1/seed-0", tmp_path / "lr-2/seed-0")
    report = judge(tmp_path / "out", *cells, compare=True, figures=True)
    assert [run.run for run in report.runs] == ["lr-1/seed-0", "lr-2/seed-0"]
    assert (report.comparison.first, report.comparison.second) == ("lr-1/seed-0", "lr-2/seed-0")
    for run, folder in zip(report.runs, ("lr-1_seed-0", "lr-2_seed-0"), strict=True):
        assert {str(Path(name).parent) for name in run.figures} == {f"figures/{folder}"}
        assert all((report.out / name).is_file() for name in run.figures)
        assert run.run in terminal_table(report)
        assert run.run in markdown_table(report)


def test_a_run_named_twice_is_refused(runs, tmp_path):
    with pytest.raises(ConfigError, match="named twice"):
        judge(tmp_path / "out", runs / "run", runs / "other/../run")


def test_two_seeds_of_one_recipe_get_mean_and_interval_and_another_recipe_does_not(runs, compared, tmp_path):
    (found,) = compared.seeds
    assert found.seeds == (0, 1)
    values = [run.head.scores.to_json()["f_0_25"] for run in compared.runs]
    assert found.intervals["head"]["f_0_25"] == Interval.of(values)
    assert judge(tmp_path, runs / "run", runs / "untrained", store=None).seeds == ()


def test_what_is_the_same_for_every_seed_has_a_value_and_no_interval(runs, tmp_path):
    report = judge(tmp_path, runs / "run", runs / "other", random_init=runs / "untrained")
    (found,) = report.seeds
    for name in ("centre_prior", "random_init"):
        control = next(c for c in report.runs[0].contenders if c.name == name).scores.to_json()
        assert found.intervals[name]["f_0_25"].mean == control["f_0_25"]
        assert all(interval.half is None for interval in found.intervals[name].values())
    assert found.intervals["linear_probe"]["f_0_25"].half is not None
    own = [next(c for c in run.contenders if c.name == "linear_probe").own.scores.to_json() for run in report.runs]
    assert found.intervals["linear_probe @own"]["f_0_25"] == Interval.of([scores["f_0_25"] for scores in own])
    shown = (tmp_path / "table.txt").read_text().split("2 seeds")[1]
    assert "±" not in next(line for line in shown.splitlines() if line.startswith("random_init"))


def test_seeds_are_one_recipe_whichever_training_examples_their_validations_scored(runs, trained_once, tmp_path):
    for seed in (0, 1):
        config = {"steps": 4, "eval_freq": 4, "eval_train_rows": 5, "seed": seed}
        train(train_config(trained_once, str(tmp_path / f"seed-{seed}"), **config))
    records = [json.loads((tmp_path / f"seed-{seed}" / "run.json").read_text()) for seed in (0, 1)]
    for number, record in enumerate(records):  # a data set of many episodes: the draw differs in which it is from
        record["splits"]["train_eval"]["episodes"] = [number]
        (tmp_path / f"seed-{number}" / "run.json").write_text(json.dumps(record))
    (found,) = judge(tmp_path / "out", tmp_path / "seed-0", tmp_path / "seed-1").seeds
    assert found.seeds == (0, 1)


@pytest.mark.parametrize("names", [("run",), ("run", "other", "untrained")])
def test_a_comparison_takes_two_runs(runs, tmp_path, names):
    with pytest.raises(ConfigError, match="takes two runs"):
        judge(tmp_path / "out", *(runs / name for name in names), compare=True)
    assert not (tmp_path / "out").exists()


def test_runs_of_different_tasks_are_not_compared_and_nothing_is_written(runs, tmp_path):
    record = json.loads((runs / "run/run.json").read_text())
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps/run.json").write_text(json.dumps(record | {"task": "dense"}))
    with pytest.raises(ConfigError, match="different tasks cannot be compared") as error:
        judge(tmp_path / "out", runs / "run", tmp_path / "maps", compare=True)
    assert "dense" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_runs_judged_on_other_rows_are_not_compared(runs, trained_once, tmp_path):
    fewer = write_manifest(tmp_path, "fewer", cameras=["main"], labels=str(trained_once / "labels.parquet"))
    train(train_config(trained_once, str(tmp_path / "half"), manifest=str(fewer), steps=4, eval_freq=4))
    with pytest.raises(StoreIncomplete, match="not judged on the same rows"):
        judge(tmp_path / "out", runs / "run", tmp_path / "half", compare=True)


def test_the_random_init_control_is_the_head_of_its_own_run_on_the_same_rows(runs, tmp_path):
    alone = judge(tmp_path / "alone", runs / "untrained")
    beside = judge(tmp_path / "beside", runs / "run", random_init=runs / "untrained").runs[0]
    control = beside.contenders[-1]
    assert control.name == "random_init"
    assert control.scores.to_json() == alone.runs[0].head.scores.to_json()
    assert control.val.to_json() == alone.runs[0].head.val.to_json()
    assert control.step == alone.runs[0].step
    assert f"random_init {control.step}" in (tmp_path / "beside/table.txt").read_text()
    assert "random_init" in (tmp_path / "beside/table.txt").read_text()
    assert any("another recipe" in note for note in beside.notes)  # it took fewer steps


def test_a_run_on_the_same_features_is_no_random_init_control(runs, tmp_path):
    with pytest.raises(ConfigError, match="trained on the same features"):
        judge(tmp_path, runs / "run", random_init=runs / "other")


def test_the_control_of_a_store_that_is_not_its_own_is_refused(runs, trained_once, tmp_path):
    with pytest.raises(StoreMismatch, match="numerics"):
        judge(tmp_path, runs / "run", random_init=runs / "untrained", random_init_store=trained_once / "store")


def test_a_point_lands_on_its_own_target_first_then_on_any_that_the_frame_is_labelled_with(rows):
    answers = Answers(np.zeros(rows.cells.shape), np.nan_to_num(rows.points, nan=-1.0))
    found = landed(answers, rows)
    assert [name for name, positive in zip(found, rows.positive, strict=True) if positive] == [
        target for target in rows.target if target
    ]
    assert {name for name, positive in zip(found, rows.positive, strict=True) if not positive} == {""}
    # the negative question about the same frame now points at the other question's target
    swapped = answers.points.copy()
    swapped[0::2] = answers.points[1::2]
    assert landed(Answers(answers.logits, swapped), rows)[0] == rows.target[1]


def test_perfect_points_make_every_view_right_and_perfect_cells_move_at_the_grasp(rows):
    found = find(Answers(np.where(rows.cells, 9.0, -9.0), np.nan_to_num(rows.points, nan=-1.0)), rows)
    assert found.views.moments == found.views.right == 12
    assert found.shift.executions > 0
    assert found.shift.moved_rate == 1.0
    assert found.calibration.error < 1e-3
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["views_right"] == 1.0


def test_no_calibration_error_over_all_cells_is_called_the_best_and_the_base_rate_stands_beside_it(compared):
    rate = compared.runs[0].head.findings.calibration.base_rate
    for table in page_of(compared).tables:
        if table.title.startswith("Calibration, views and phases"):
            assert not [at for _, at in table.bold if table.columns[at] == "ECE"]
            assert {table.columns[at] for _, at in table.bold} >= {"Brier"}
            assert f"{rate:.1%} of all cells" in table.notes[0]
    assert f"{rate:.1%} of all cells" in " ".join(terminal_table(compared).split())
    assert rate == compared.runs[1].head.findings.calibration.base_rate


def test_no_backbone_is_ever_loaded(runs, tmp_path):
    code = (
        "import sys; from pathlib import Path; from visual_thought.evaluate.config import EvalConfig;"
        "from visual_thought.evaluate.run import evaluate;"
        f"evaluate(EvalConfig((Path({str(runs / 'run')!r}),), Path({str(tmp_path)!r}), device='cpu', figures=False));"
        "bad = [m for m in sys.modules if m.startswith(('visual_thought.extract', 'transformers', 'lerobot', 'timm'))];"
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
