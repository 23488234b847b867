"""``vtt tables``, with folders that are what they should be and others."""

import json
import shutil
import subprocess
import sys

import pytest

from visual_thought.pipeline.cli import run as vtt


def test_it_prints_every_table_of_the_runs(swept_once, capsys):
    assert vtt(["tables", str(swept_once)]) == 0
    said = capsys.readouterr()
    assert [line.split("  ")[0] for line in said.out.splitlines() if line.startswith("Table")] == ["Table 3", "Table 4"]
    assert said.err == ""


@pytest.mark.parametrize(
    ("form", "start"), [("markdown", "### Table 4"), ("latex", r"% needs \usepackage{booktabs}"), ("json", "{")]
)
def test_it_prints_one_table_in_another_form(form, start, swept_once, capsys):
    assert vtt(["tables", str(swept_once), "--number", "4", "--format", form]) == 0
    assert capsys.readouterr().out.startswith(start)


def test_json_is_one_object_and_out_holds_every_form(swept_once, tmp_path, capsys):
    assert vtt(["tables", str(swept_once), "--json", "--out", str(tmp_path / "deep" / "out")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [table["number"] for table in told["tables"]] == [3, 4]
    names = sorted(path.name for path in (tmp_path / "deep" / "out").iterdir())
    assert names == sorted(f"table{n}.{ending}" for n in (3, 4) for ending in ("txt", "md", "tex", "json"))
    assert len(told["files"]) == 8


def test_it_needs_neither_torch_nor_a_store(swept_once, tmp_path):
    shutil.copytree(swept_once, tmp_path / "moved", symlinks=True)
    code = (
        "import sys; from visual_thought.pipeline.cli import run; "
        f"code = run(['tables', {str(tmp_path / 'moved')!r}]); "
        "heavy = {'torch', 'zarr', 'lerobot'} & set(sys.modules); "
        "sys.exit(f'loaded {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--number", "5"], "the paper has no table 5"),
        (["--number", "1"], "table 1 is of runs of the task distill"),
        (["--format", "html"], "--format cannot be 'html'"),
        (["--checkpoint", "first"], "--checkpoint cannot be 'first'"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(arguments, said, swept_once, capsys):
    assert vtt(["tables", str(swept_once), *arguments]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.out == ""


def test_a_folder_without_a_run_is_named(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("hello")
    assert vtt(["tables", str(tmp_path)]) == 2
    assert f"{tmp_path} holds no run" in capsys.readouterr().err
    assert vtt(["tables", str(tmp_path / "nothing")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert vtt(["tables", str(tmp_path / "notes.txt")]) == 2


@pytest.mark.parametrize(
    "line",
    ['{"kind": "valid', "[1, 2]", '{"kind": "validation", "step": "4"}', '{"step": 4}', "\x00\xff", "[" * 50_000,
     '{"kind": "validation", "step": 4, "contender": "head", "split": "val", "loss": "low"}'],
)  # fmt: skip
def test_a_damaged_line_of_a_log_is_named_with_its_number(line, swept, capsys):
    log = swept / "lr-0.03" / "seed-0" / "metrics.jsonl"
    lines = log.read_text().splitlines()
    log.write_text("\n".join([*lines[:3], line, *lines[4:]]) + "\n")
    assert vtt(["tables", str(swept), "--out", str(swept / "tables")]) == 3
    said = capsys.readouterr()
    assert f"{log}, line 4 is damaged" in said.err
    assert said.out == ""
    assert not (swept / "tables").exists()


def test_a_line_that_is_still_being_written_is_left_out(swept, capsys):
    log = swept / "lr-0.03" / "seed-0" / "metrics.jsonl"
    with log.open("a") as file:
        file.write('{"kind": "validation", "st')
    assert vtt(["tables", str(swept)]) == 0
    assert "damaged" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema": 1}', '{"schema": 99}', '{"schema": 1, "entries": [{}], "runs": []}']
)
def test_a_damaged_sweep_file_is_an_error_that_says_what_is_whole(text, swept, capsys):
    (swept / "sweep.json").write_text(text)
    assert vtt(["tables", str(swept)]) == 3
    assert "sweep.json" in capsys.readouterr().err


def test_a_sweep_that_names_runs_elsewhere_is_refused(swept, capsys):
    data = json.loads((swept / "sweep.json").read_text())
    data["runs"][0]["run"] = "../../elsewhere"
    (swept / "sweep.json").write_text(json.dumps(data))
    assert vtt(["tables", str(swept)]) == 3
    assert "lies outside the sweep" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"task": "sing"}, {"config": {}}, {"config": 3}, {"manifest": {}}, {"splits": 3}])
def test_a_record_that_makes_no_sense_is_an_error(change, swept, capsys):
    path = swept / "lr-0.03" / "seed-0" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert vtt(["tables", str(swept)]) == 2
    assert "seed-0" in capsys.readouterr().err


def test_a_sweep_that_has_not_begun_says_so(swept, capsys):
    for cell in ("lr-0.01", "lr-0.03", "margin-p--0.15"):
        shutil.rmtree(swept / cell)
    assert vtt(["tables", str(swept)]) == 2
    assert "no run has begun" in capsys.readouterr().err
