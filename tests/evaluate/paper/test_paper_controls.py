"""Controls in tables: a row for each, or a note that says what makes it."""

import json
import shutil
from dataclasses import replace

import pytest

from visual_thought.evaluate.config import EvalConfig
from visual_thought.evaluate.page.paper import published_tables
from visual_thought.evaluate.paper.build import paper_tables
from visual_thought.evaluate.paper.controls import EVALUATED, TRAINED
from visual_thought.evaluate.run import evaluate
from visual_thought.pipeline.errors import ConfigError
from visual_thought.train.sweep.intervals import Interval
from visual_thought.train.tasks import dense, distill, ground

from .reading import cells, logged, rows


@pytest.fixture
def seeds(swept):
    return [swept / "lr-0.03" / f"seed-{seed}" for seed in (0, 1)]


def named(table, label):
    return next((row for row in rows(table, "control") if row.label == label), None)


def test_controls_are_those_of_the_carried_row_and_every_row_has_its_own_in_json(swept_once):
    table = paper_tables([swept_once], number=3)[0]
    blind, probe = rows(table, "control")
    assert (blind.label, probe.label) == ("instruction_blind", "linear_probe")
    runs = [swept_once / "margin-p--0.15" / f"seed-{seed}" for seed in (0, 1)]
    values = [logged(run, 12, "instruction_blind")["loss"] for run in runs]
    assert cells(table, blind)["val.loss"].value == pytest.approx(sum(values) / 2)
    assert cells(table, blind)["decoder.dim"].value == 16
    assert cells(table, probe)["decoder.dim"].value == ""
    assert cells(table, probe)["size.all"].value == 8 + 1
    other = table.to_json()["blocks"][0]["rows"][1]["controls"]["linear_probe"]["val.fn"]["values"]
    assert other == [logged(swept_once / "lr-0.03" / f"seed-{seed}", 12, "linear_probe")["fn"] for seed in (0, 1)]


def test_a_run_on_an_untrained_backbone_is_a_control_of_its_setting(swept_once, untrained_once):
    table = paper_tables([swept_once], number=3, random_init=[untrained_once])[0]
    row = rows(table, "control")[-1]
    assert row.label == "random_init"
    assert cells(table, row)["val.loss"].value == logged(untrained_once, 12)["loss"]
    with pytest.raises(ConfigError, match="read the same features as the others"):
        paper_tables([swept_once], number=3, random_init=[swept_once / "margin-p--0.15"])
    lacking = paper_tables([swept_once / "lr-0.03"], number=3, random_init=[untrained_once])[0]
    assert any("no random_init row" in note for note in lacking.notes)


def test_the_centre_prior_comes_from_an_evaluation(swept, toy):
    run = swept / "lr-0.03" / "seed-0"
    assert any("no centre prior row" in note for note in paper_tables([run], number=3)[0].notes)
    evaluate(EvalConfig(runs=(run,), out=run / "eval", split="test", figures=False))
    table = paper_tables([run], number=3)[0]
    told = json.loads((run / "eval" / "metrics.json").read_text())["runs"][0]["contenders"]["centre_prior"]["val"]
    row = rows(table, "control")[-1]
    assert row.label == "centre_prior"
    assert cells(table, row)["val.fp"].value == told["fp"]
    assert cells(table, row)["val.f_0_25"].value == told["f_0_25"]
    assert not any("centre prior" in note for note in table.notes)


def test_controls_that_a_run_can_train_are_those_of_its_task():
    assert {name: set(controls) for name, controls in TRAINED.items()} == {
        "distill": set(distill.CONTROLS),
        "dense": set(dense.CONTROLS),
        "ground": set(ground.CONTROLS),
    }


def test_every_control_of_every_table_has_a_row_or_a_note_on_what_makes_it(swept_once, experts_once):
    folders = [swept_once, experts_once / "distill", experts_once / "dense"]
    tables = paper_tables(folders)
    assert [table.number for table in tables] == [1, 2, 3, 4]
    makes = {"instruction_blind": "--set 'controls=[", "linear_probe": "--set 'controls=[", "random_init": "untrained"}
    makes |= {"target_mean": "vtt eval", "centre_prior": "vtt eval"}
    for table in tables:
        for name in {*TRAINED[table.task], EVALUATED[table.task], "random_init"}:
            about = [note for note in table.notes if f"{name.replace('_', ' ')} row" in note and makes[name] in note]
            assert len(about) == (named(table, name) is None)


def test_a_run_without_any_control_says_so_for_each(swept):
    log = swept / "lr-0.03" / "seed-0" / "metrics.jsonl"
    lines = [line for line in log.read_text().splitlines() if json.loads(line).get("contender") in (None, "head")]
    log.write_text("\n".join(lines) + "\n")
    notes = paper_tables([log.parent], number=3)[0].notes
    assert any("no instruction blind and linear probe row" in note for note in notes)


def test_a_loss_of_another_objective_is_left_out_and_the_term_of_both_is_told(seeds):
    for table in paper_tables(seeds):
        assert cells(table, named(table, "linear_probe"))["val.loss"].value is None
        assert cells(table, named(table, "instruction_blind"))["val.loss"].value is not None
        note = next(note for note in table.notes if note.startswith("val loss of linear probe is left out"))
        for name in ("head", "linear_probe"):
            mean = Interval.of([logged(run, 12, name)["coarse"] for run in seeds]).mean
            assert f"{name.replace('_', ' ')} {mean:.3f}" in note


@pytest.mark.parametrize("at", ["last", "best"])
def test_the_legend_says_at_which_validation_controls_stand(swept_once, at):
    three, four = paper_tables([swept_once], at=at)
    assert any("controls: " in line and f"each at its own {at} validation" in line for line in three.legend)
    assert any("controls: " in line and "each at its own last validation" in line for line in four.legend)


def test_a_prior_that_only_some_seeds_were_evaluated_for_says_of_how_many(seeds):
    evaluate(EvalConfig(runs=(seeds[0],), out=seeds[0] / "eval", split="test", figures=False))
    table = paper_tables(seeds, number=3)[0]
    assert named(table, "centre_prior") is not None
    assert any("centre prior is of 1 of 2 runs" in note and str(seeds[1]) in note for note in table.notes)
    evaluate(EvalConfig(runs=(seeds[1],), out=seeds[1] / "eval", split="test", figures=False))
    table = paper_tables(seeds, number=3)[0]
    assert not any("centre prior" in note for note in table.notes)
    assert all(cell.half is None for cell in named(table, "centre_prior").cells)


def test_the_page_of_several_runs_has_the_prior_that_was_just_computed(seeds, tmp_path):
    report = evaluate(EvalConfig(runs=tuple(seeds), out=tmp_path / "elsewhere", split="test", figures=False))
    tables, missing = published_tables(report)
    assert missing == ()
    prior = next(one for one in report.runs[0].contenders if one.name == "centre_prior").val.to_json()
    for table in tables:
        row = next(row for row in table.rows if row[0] == "centre prior")
        assert row[table.columns.index("FP")] == str(prior["fp"])
        assert not any("entre prior" in note for note in table.notes)
    alone = replace(report, runs=report.runs[:1])
    shutil.rmtree(tmp_path / "elsewhere")
    assert published_tables(alone)[0][0].rows[-1][0] == "centre prior"
