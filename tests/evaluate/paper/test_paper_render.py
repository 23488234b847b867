"""What people see: aligned, marked, escaped."""

import json
import re
from dataclasses import replace

import pytest

from visual_thought.evaluate.paper.build import paper_tables
from visual_thought.evaluate.paper.digits import half_shown, shown
from visual_thought.evaluate.paper.latex import escape
from visual_thought.evaluate.paper.markdown import plain
from visual_thought.evaluate.paper.render import render
from visual_thought.evaluate.paper.table import Block, Cell, Column
from visual_thought.evaluate.paper.terminal import terminal
from visual_thought.pipeline.errors import ConfigError

EVIL = r"a|b & 50% of $x_1$ {#} \input{/etc/passwd} ~^ <script> [l](u) *b*"


@pytest.fixture(scope="module")
def table(swept_once):
    return paper_tables([swept_once], number=3)[0]


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (5e-6, "rate", "5e-6"), (0.02, "rate", "0.02"), (0.6, "share", "0.60"), (0.625, "share", "0.625"),
        (147.0, "count", "147"), (0.84849, "fixed3", "0.848"), (0.0093, "fixed4", "0.0093"),
        (0.00012345, "fixed4", "1.23e-04"), (10_680_000, "millions", "10.68M"), (97, "millions", "97"),
        ([16, 16], "text", "16x16"), (None, "count", "-"), (12, "whole", "12"), (0.0, "fixed4", "0.0000"),
    ],
)  # fmt: skip
def test_numbers_have_the_papers_digits(value, kind, text):
    assert shown(Cell(value), Column("", "", kind)) == text


def test_an_interval_has_the_digits_of_its_mean():
    assert half_shown(Cell(0.848, 0.01249), Column("", "", "fixed3")) == "0.012"
    assert half_shown(Cell(147.0, 12.4), Column("", "", "count")) == "12"
    assert half_shown(Cell(0.848), Column("", "", "fixed3")) == ""


def test_intervals_stand_beside_their_numbers_if_there_is_room_and_under_them_if_not(table):
    wide, narrow = terminal(table, width=180), terminal(table, width=100)
    assert re.search(r"\d\*? +±\d", wide)
    assert narrow.count("\n") > wide.count("\n")
    under = next(line for line in narrow.splitlines() if line.lstrip().startswith("±"))
    assert not re.search(r"(?<![±\d.])\d", under)


def test_lines_of_a_table_are_equally_long_and_say_their_best_with_a_star(table):
    text = terminal(table, width=180)
    rules = [line for line in text.splitlines() if set(line) <= set("━─") and line]
    inside = text.split(rules[0])[1].splitlines()
    assert len({len(rule) for rule in rules}) == 1
    assert max(len(line) for line in inside) <= len(rules[0])
    assert text.count("*") == sum(cell.best for block in table.blocks for row in block.rows for cell in row.cells)
    assert "\033" not in text


def test_colour_says_it_with_bold_and_keeps_the_places(table):
    plain_text = re.sub(r"\033\[\d?m", "", terminal(table, width=180, colour=True))
    assert "\033[1m" in terminal(table, width=180, colour=True)
    assert "*" not in plain_text
    assert {row.split("→")[0] for row in plain_text.splitlines() if "→" in row and "LR" in row} == {""}


def test_every_row_of_markdown_has_every_column(table):
    lines = [line for line in render(table, "markdown").splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(table.columns) + 2}
    assert any("**" in line for line in lines)


def test_every_row_of_latex_has_every_column_and_every_brace_its_partner(table):
    text = render(table, "latex")
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {len(table.columns)}
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"$\rightarrow$ LR"))
    assert text.isascii()


def test_what_a_run_says_of_itself_is_no_markup():
    assert escape(EVIL) == (
        r"a\textbar{}b \& 50\% of \$x\_1\$ \{\#\} \textbackslash{}input\{/etc/passwd\} "
        r"\textasciitilde{}\textasciicircum{} \textless{}script\textgreater{} [l](u) *b*"
    )
    assert not re.search(r"(?<!\\)[|<>*\[\]_#]", plain(EVIL))
    assert "\n" not in plain("a\n\n# b")


def test_hostile_names_stay_inside_their_cells(table):
    row = replace(table.blocks[0].rows[0], label=EVIL)
    hostile = replace(table, blocks=(Block("x|y", (row,)),), facts=(EVIL + "\x1b[2J",), notes=(EVIL + "\n\\end{x}",))
    told = [line for line in render(hostile, "markdown").splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in told} == {len(table.columns) + 2}
    notes = [line for line in render(hostile, "latex").splitlines() if "end{x}" in line]
    assert all(line.startswith("%") for line in notes)
    assert "\x1b" not in terminal(hostile) + render(hostile, "markdown") + render(hostile, "latex")


def test_json_holds_every_number_unrounded(table):
    told = json.loads(render(table, "json"))
    assert told["number"] == 3
    row = told["blocks"][0]["rows"][0]
    assert row["cells"]["val.loss"]["value"] == table.blocks[0].rows[0].cells[-1].value
    assert len(row["cells"]["val.loss"]["values"]) == 2


def test_an_unknown_format_lists_the_known(table):
    with pytest.raises(ConfigError, match="no format 'html'"):
        render(table, "html")
