"""What ``vtt eval`` leaves and says when a part of what it needs is gone: a partial report, or an error and nothing."""

import io
import json
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from visual_thought.pipeline.cli import run
from visual_thought.train.run import train

from .toy_run import make_store, write_manifest

sys.path.append(str(Path(__file__).parents[1] / "train"))
from expert_toys import expert_config, make_experts


class Answer(NamedTuple):
    """What one command line came to."""

    exit_code: int
    stdout: str
    stderr: str


def vtt_eval(*words):
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = run(["eval", *map(str, words), "--device", "cpu"])
    return Answer(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """A dense run; never written into."""
    folder = tmp_path_factory.mktemp("maps")
    make_experts(folder)
    train(expert_config("dense", folder, "maps"))
    return folder / "maps"


@pytest.fixture(scope="module")
def done(trained_once, tmp_path_factory):
    """An evaluation whose dataset is gone, and its folder."""
    out = tmp_path_factory.mktemp("partial") / "report"
    return vtt_eval(trained_once / "run", "--out", out), out


def test_without_the_dataset_the_page_has_the_charts_and_says_why_there_are_no_pictures(done):
    answer, out = done
    assert answer.exit_code == 0, answer.stderr
    page = (out / "report.html").read_text(encoding="utf-8")
    missing = page.partition("What is missing")[2].partition("</section>")[0]
    assert "no picture of grounding two views" in missing
    assert "the dataset could not be read" in missing
    assert page.count("<img ") == len(json.loads((out / "metrics.json").read_text())["runs"][0]["figures"]) == 3


def test_the_answer_ends_with_where_the_page_is_and_what_it_misses(done):
    answer, out = done
    table, _, end = answer.stdout.partition(f"report: {out / 'report.html'}\n")
    assert "note: no picture of" in table
    assert end.startswith("missing: ")
    assert "no picture of" not in end


def test_every_file_of_a_partial_report_is_whole_and_none_is_left_over(done):
    _, out = done
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    charts = ("precision_recall", "threshold_sweep", "training")
    assert names == [
        *(f"figures/{name}.png" for name in charts),
        "metrics.json",
        "report.html",
        "table.md",
        "table.txt",
    ]


def test_a_store_that_is_gone_is_one_error_of_integrity_and_nothing_is_written(trained, tmp_path):
    refused = vtt_eval(trained / "run", "--out", tmp_path / "report", "--store", tmp_path / "gone")
    assert refused.exit_code == 3
    assert "is no feature store" in refused.stderr
    assert "say where it is now with --store" in refused.stderr
    assert refused.stdout == ""
    assert not (tmp_path / "report").exists()


def test_another_store_s_remedy_is_the_run_s_own_store_and_never_a_recipe(trained, maps, tmp_path):
    make_store(trained / "other", numerics=2)
    own = json.loads((trained / "run/run.json").read_text())["store"]
    for other in (maps.parent / "store", trained / "other"):  # without the features; with others of the same names
        refused = vtt_eval(trained / "run", "--out", tmp_path / "report", "--store", other)
        assert refused.exit_code in (2, 4)  # no such feature; another one
        assert f"give the store that the run was trained on, {own}, with --store" in " ".join(refused.stderr.split())
        assert "recipe's" not in refused.stderr


@pytest.mark.parametrize("words", [(), ("--compare",)])
def test_a_sweep_s_folder_is_no_run_and_its_cells_are_named(trained, tmp_path, words):
    sweep = tmp_path / "sweep"
    shutil.copytree(trained / "run", sweep / "lr-1/seed-0", symlinks=True)
    (sweep / "sweep.json").write_text("{}")
    for folder, kind in ((sweep, "a sweep"), (sweep / "lr-1", "a folder of runs")):
        refused = vtt_eval(folder, *([trained / "run"] if words else []), "--out", tmp_path / "report", *words)
        assert refused.exit_code == 2
        assert f"holds no run: it is {kind}" in refused.stderr
        assert f"vtt eval {sweep / 'lr-1/seed-0'}" in refused.stderr
        assert f"vtt tables {folder}" in refused.stderr


def test_a_root_that_is_wrong_is_to_be_corrected(trained, tmp_path):
    answer = vtt_eval(trained / "run", "--out", tmp_path / "report", "--root", tmp_path / "nowhere")
    assert answer.exit_code == 0, answer.stderr
    (note,) = json.loads((tmp_path / "report/metrics.json").read_text())["runs"][0]["notes"]
    assert f"correct --root, which says {tmp_path / 'nowhere'}" in note


def test_a_store_that_is_gone_for_the_second_run_costs_nothing_that_was_there(trained, trained_once, tmp_path):
    record = trained / "run/run.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"store": str(tmp_path / "gone")}))
    (trained / "run").rename(trained / "other")
    out = tmp_path / "report"
    out.mkdir()
    (out / "metrics.json").write_text("of yesterday")
    refused = vtt_eval(trained_once / "run", trained / "other", "--out", out)
    assert refused.exit_code == 3
    assert [path.name for path in out.iterdir()] == ["metrics.json"]
    assert (out / "metrics.json").read_text() == "of yesterday"


def test_a_checkpoint_that_cannot_be_read_is_named_and_nothing_is_written(trained, tmp_path):
    file = (trained / "run/best").resolve() / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    refused = vtt_eval(trained / "run", "--out", tmp_path / "report")
    assert refused.exit_code == 3
    assert "model.safetensors" in refused.stderr
    assert not (tmp_path / "report").exists()


def test_runs_of_different_tasks_are_not_compared_but_stand_on_one_page_when_asked(trained_once, maps, tmp_path):
    runs = (trained_once / "run", maps)
    refused = vtt_eval(*runs, "--compare", "--out", tmp_path / "compared")
    assert refused.exit_code == 2
    assert "runs of different tasks cannot be compared" in refused.stderr
    assert "leave out --compare" in refused.stderr
    assert not (tmp_path / "compared").exists()

    beside = vtt_eval(*runs, "--no-figures", "--out", tmp_path / "beside")
    assert beside.exit_code == 0, beside.stderr
    page = (tmp_path / "beside/report.html").read_text(encoding="utf-8")
    for said in ("Runs side by side, ground", "Runs side by side, dense", "figures: none were asked for"):
        assert said in page


def test_a_log_that_is_damaged_costs_its_chart_and_the_paper_s_tables_and_no_number(trained, tmp_path):
    with (trained / "run/metrics.jsonl").open("a") as log:
        log.write("{no json}\n")
    answer = vtt_eval(trained / "run", "--out", tmp_path / "report")
    assert answer.exit_code == 0, answer.stderr
    assert "no picture of training: the run's log is damaged" in answer.stdout
    assert "missing: the paper's tables: " in answer.stdout
    assert "missing: the seconds of training" in answer.stdout


def test_the_command_on_the_page_repeats_the_places_that_were_given(trained, tmp_path, monkeypatch):
    moved = shutil.move(trained / "store", tmp_path / "moved store")
    write_manifest(trained, "again")
    monkeypatch.chdir(trained)
    words = ("--store", moved, "--manifest", "again.yaml", "--split", "val", "--no-figures", "--threshold", "0.4")
    answer = vtt_eval("run", "--out", tmp_path / "report", *words)
    assert answer.exit_code == 0, answer.stderr
    page = (tmp_path / "report/report.html").read_text(encoding="utf-8").replace("&#39;", "'")
    line = f"vtt eval {trained / 'run'} --out {tmp_path / 'report'} --split val --threshold 0.4 --device cpu "
    line += f"--store '{moved}' --manifest {trained / 'again.yaml'} --no-figures"
    assert line in page
