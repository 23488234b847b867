"""The page of a real evaluation: every number where it belongs, and what is missing said."""

import hashlib
import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from visual_thought.evaluate.command import command_of
from visual_thought.evaluate.config import EvalConfig
from visual_thought.evaluate.page.collect import page_of
from visual_thought.evaluate.page.content import Commands, Facts, Figure, Table
from visual_thought.evaluate.page.html import render_page
from visual_thought.evaluate.page.origins import manifest_place, recipe_facts, recipe_file, versions_of
from visual_thought.evaluate.page.provenance import command_line, commands_of, ranges
from visual_thought.evaluate.run import evaluate, write_report
from visual_thought.pipeline.record import installed_versions, read_record


@pytest.fixture(scope="module")
def report(trained_once, tmp_path_factory):
    """A whole evaluation without the dataset."""
    out = tmp_path_factory.mktemp("page")
    return evaluate(EvalConfig(runs=(trained_once / "run",), out=out, device="cpu", batch_size=7))


def titled(items, title):
    return next(item for item in items if item.title == title)


def facts(page, title):
    return {fact.label: fact.value for fact in titled(page.provenance, title).facts}


def test_an_evaluation_writes_the_page_of_its_report(report):
    assert (report.out / "report.html").read_text(encoding="utf-8") == render_page(page_of(report))


def test_the_tables_say_what_metrics_json_says(report):
    said = json.loads((report.out / "metrics.json").read_text())["runs"][0]
    table = titled(page_of(report).tables, "Head and controls on test")
    names = [name.replace("_", " ") for name in said["contenders"]]
    assert list(dict.fromkeys(row[0].split(" @")[0] for row in table.rows)) == names
    column = table.columns.index("F 0.25")
    for name, contender in zip(names, said["contenders"].values(), strict=True):
        told = [contender["scores"], *([contender["own_threshold"]["scores"]] if contender["own_threshold"] else [])]
        shown = [row[column] for row in table.rows if row[0].split(" @")[0] == name]
        assert shown == [f"{scores['f_0_25']:.3f}" for scores in told[: 1 if name == "head" else 2]]
    best = max(float(row[column]) for row in table.rows)
    assert {row for row, at in table.bold if at == column} == {
        number for number, row in enumerate(table.rows) if float(row[column]) == best
    }


def test_the_weakest_groups_lie_below_the_whole_and_come_lowest_first(report):
    whole = json.loads((report.out / "metrics.json").read_text())["runs"][0]["contenders"]["head"]["scores"]["f_0_25"]
    table = next(item for item in page_of(report).failures if isinstance(item, Table))
    scores = [float(row[table.columns.index("F 0.25")]) for row in table.rows]
    assert scores == sorted(scores)
    assert max(scores) <= round(whole, 3)


def test_without_dataset_receipts_and_features_the_page_says_what_is_missing(report):
    page = page_of(report)
    charts = ["Training", "Cell decisions by threshold", "Precision against recall, and calibration"]
    assert [item.title for item in page.figures] == charts
    assert any("the dataset could not be read" in line for line in page.missing)
    assert any("seconds of extracting" in line for line in page.missing)
    energy = {fact.label: fact.value for fact in titled(page.cost, "Bytes read and energy").facts}["energy"]
    assert energy.startswith("not known")


def test_a_run_whose_record_is_gone_still_has_a_page_that_says_so(report, tmp_path):
    lost = replace(report, runs=(replace(report.runs[0], path=tmp_path / "gone"),))
    page = page_of(lost)
    assert page.tables
    assert (page.cost, page.provenance) == ([], [])
    assert any(line.startswith("cost and provenance: ") for line in page.missing)
    assert any(line.startswith("the paper's tables: ") for line in page.missing)


def test_a_report_for_which_no_figures_were_asked_says_so(report):
    asked = replace(report.asked, figures=False)
    page = page_of(replace(report, asked=asked, runs=(replace(report.runs[0], figures=(), notes=()),)))
    assert page.figures == []
    assert "figures: none were asked for" in page.missing


def test_several_runs_stand_side_by_side_and_every_table_names_its_run(report):
    first = report.runs[0]
    page = page_of(replace(report, runs=(first, replace(first, run="other"))))
    assert page.tables[0].title == "Runs side by side"
    assert [row[0] for row in page.tables[0].rows] == [first.run, "other"]
    titles = [item.title for item in page.tables]
    assert len(set(titles)) == len(titles)
    assert [number.label for number in page.summary] == [first.run, "other"]


def test_provenance_names_fingerprints_seed_versions_commit_labels_and_splits(report):
    record = read_record(report.runs[0].path / "run.json")
    page = page_of(report)
    features = facts(page, "Features and their backbones")
    assert all(features[f"{name}, fingerprint"] == value for name, value in record.fingerprints.items())
    run = facts(page, "Run")
    assert run["seed"] == "0"
    assert Path(run["run"]).is_absolute()
    assert Path(run["store"]).is_absolute()
    versions = titled(page.provenance, "Versions")
    told = {row[0]: row[1:] for row in versions.rows}
    assert {name: told[name][0] for name in record.versions} == dict(record.versions)
    assert record.commit is None or told["source commit"][0] == record.commit
    assert facts(page, "Data")["labels, sha256"] == record.manifest["labels_sha256"]
    assert [row[0] for row in titled(page.provenance, "Splits").rows] == ["train", "val", "test"]


def test_the_evaluation_s_own_code_stands_beside_training_s_on_the_page_and_in_metrics_json(report):
    record = read_record(report.runs[0].path / "run.json")
    told = replace(record, versions=dict(record.versions) | {"torch": "1.0 of then"})
    rows = {row[0]: row[1:] for row in versions_of(report.runs[0], told, report.made).rows}
    assert rows["torch"] == ("1.0 of then", installed_versions()["torch"])
    assert rows["python"][1] == installed_versions()["python"]
    assert rows["device"] == ("cpu", "cpu")
    assert rows["precision"][1] == "fp32"
    assert rows["date"][1] == report.made.date
    said = json.loads((report.out / "metrics.json").read_text())
    assert said["made"] == json.loads(json.dumps(report.made.to_json()))
    assert (said["runs"][0]["device"], said["runs"][0]["precision"]) == ("cpu", "fp32")


def test_the_whole_config_is_on_the_page_escaped_and_in_metrics_json(report):
    record = read_record(report.runs[0].path / "run.json")
    details = titled(page_of(report).provenance, "The run's config")
    assert json.loads(details.text) == record.config
    said = json.loads((report.out / "metrics.json").read_text())["runs"][0]
    assert said["config"] == record.config
    html = (report.out / "report.html").read_text(encoding="utf-8")
    assert "<details>" in html
    assert "&#34;batch_size&#34;: 16" in html


def test_a_manifest_and_a_store_are_named_by_absolute_paths_wherever_training_began(report, tmp_path, monkeypatch):
    record = read_record(report.runs[0].path / "run.json")
    manifest = report.runs[0].path.resolve().parent / "tiny.yaml"
    assert manifest_place(replace(record, config=dict(record.config) | {"manifest": "../tiny.yaml"}), None) == str(
        manifest
    )
    assert facts(page_of(report), "Data")["manifest"] == str(manifest)
    monkeypatch.chdir(manifest.parent)
    assert manifest_place(record, "tiny.yaml") == str(manifest)
    assert manifest_place(record, "tabletop_cubes") == "tabletop_cubes"


def test_the_recipe_file_is_hashed_where_it_can_be_known(report, tmp_path):
    record = read_record(report.runs[0].path / "run.json")
    file = tmp_path / "mine.yaml"
    file.write_text("task: ground")
    assert recipe_file(replace(record, command=("vtt", "train", "ground"))).name == "ground.yaml"
    assert recipe_file(replace(record, command=("vtt", "train", str(file)))) == file
    assert recipe_file(replace(record, command=("vtt", "train", "mine.yaml"))) is None
    assert recipe_file(replace(record, command=("pytest",))) is None
    told = replace(record, command=("vtt", "train", str(file)))
    shas = {fact.label: fact.value for fact in recipe_facts(report.runs[0], told)}
    assert shas["recipe file as it is now, sha256"] == hashlib.sha256(b"task: ground").hexdigest()


def test_the_weights_of_every_backbone_and_its_revision_on_the_hub_are_named(report):
    record = read_record(report.runs[0].path / "run.json")
    spec = record.features["z"] | {"compute": {"backbone": "xvla", "weights": {"model.safetensors": "ab" * 32}}}
    made = "vtt extract cubes --store s --backbone lerobot/xvla-base --revision 0123abc"
    told = replace(record, features={"z": spec}, made_by={"z": made})
    from visual_thought.evaluate.page.provenance import provenance_of

    items = provenance_of(report.runs[0], told, ())
    said = {fact.label: fact.value for fact in titled(items, "Features and their backbones").facts}
    assert said["z, model.safetensors"] == "ab" * 32
    assert said["lerobot/xvla-base"] == "revision 0123abc"


def test_the_commands_are_those_of_extraction_training_and_evaluation_each_once(report):
    record = read_record(report.runs[0].path / "run.json")
    words = ("/opt/bin/vtt", "train", "ground", "--out", "my runs/one")
    told = replace(record, command=words, made_by=dict.fromkeys(record.features, "vtt extract cubes --store s"))
    commands = commands_of(told, command_of(report.asked))
    extract, train, judge = (command.line for command in commands.commands)
    assert (extract, train) == ("vtt extract cubes --store s", "vtt train ground --out 'my runs/one'")
    typed = shlex.split(judge)
    assert typed[:3] == ["vtt", "eval", str(report.runs[0].path)]
    assert Path(typed[typed.index("--out") + 1]) == report.out
    assert commands.notes == []


def test_the_evaluation_that_a_page_names_makes_the_same_page_again(report, tmp_path):
    from typer.testing import CliRunner

    from visual_thought.pipeline.cli import app

    commands = next(item for item in page_of(report).provenance if isinstance(item, Commands))
    words = shlex.split(commands.commands[-1].line)[1:]
    words[words.index("--out") + 1] = str(tmp_path / "again")
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    again = json.loads((tmp_path / "again" / "metrics.json").read_text())
    assert again["runs"][0]["contenders"]["head"]["scores"] == report.runs[0].head.scores.to_json()


def test_what_receipts_do_not_say_is_said_to_be_unknown(report):
    record = read_record(report.runs[0].path / "run.json")
    notes = commands_of(replace(record, made_by={}), ()).notes
    assert "The store's receipts do not say what extracted r, z." in notes


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([3], "3"), ([2, 0, 1], "0–2"), ([0, 1, 3, 7, 8], "0–1, 3, 7–8")]
)
def test_neighbouring_episodes_are_said_as_a_range(numbers, text):
    assert ranges(numbers) == text


def test_a_command_is_quoted_as_a_shell_would_have_it():
    assert command_line(("/x/vtt", "predict", "a b", "$(c)")) == "vtt predict 'a b' '$(c)'"
    assert command_line(()) == "(not recorded)"


def test_writing_a_report_again_leaves_no_other_files(report):
    before = sorted(path.name for path in report.out.iterdir())
    write_report(report)
    assert sorted(path.name for path in report.out.iterdir()) == before


def test_every_picture_of_the_page_has_words_for_those_who_cannot_see_it(report):
    pictures = [item for item in page_of(report).figures if isinstance(item, Figure)]
    assert pictures
    assert all(len(figure.alt) > 40 for figure in pictures)
    assert all(isinstance(item, Facts | Table) for item in page_of(report).cost)
