import json

from visual_thought.evaluate.bench.rounds import Spread
from visual_thought.evaluate.bench.table import Bar, Case, Line, StoreBench

ONE = Spread(1.0, 0.9, 1.1)
READING = Case(
    "reading",
    (
        Line("plain", "5 rows/s", {"to plain": ONE}, ONE),
        Line("ours", "9 rows/s", {"to plain": Spread(1.8, 1.7, 1.9)}, ONE, (Bar(">= 1", True), Bar(">= 2", False))),
        Line("theirs", "1 rows/s", {"to plain": Spread(0.2, 0.1, 0.3), "ours to it": Spread(9.0, 8.0, 9.5)}),
    ),
    ("not installed: others",),
)
WRITING = Case("writing", (Line("ours", "", {"to fsync": ONE}, bars=(Bar(">= 0.9", True),)),))
BENCH = StoreBench("on this disk", (READING, WRITING))


def test_what_is_not_met_is_listed_with_case_contender_and_bar():
    assert BENCH.unmet == ["reading: ours: >= 2"]
    assert StoreBench("", (WRITING,)).unmet == []
    assert StoreBench("", ()).unmet == []


def test_the_json_holds_every_ratio_with_its_control_and_bars():
    said = json.loads(json.dumps(BENCH.to_json(), allow_nan=False))
    assert said["unmet"] == BENCH.unmet
    assert said["place"] == "on this disk"
    plain, ours, theirs = said["cases"][0]["lines"]
    assert plain["control"] == {"median": 1.0, "low": 0.9, "high": 1.1}
    assert ours["ratios"] == {"to plain": {"median": 1.8, "low": 1.7, "high": 1.9}}
    assert ours["bars"] == [{"wanted": ">= 1", "met": True}, {"wanted": ">= 2", "met": False}]
    assert (theirs["control"], theirs["bars"]) == (None, [])
    assert said["cases"][0]["notes"] == ["not installed: others"]


def test_the_text_shows_ratios_controls_and_bars_in_columns():
    lines = BENCH.render().splitlines()
    head, plain, ours, theirs = lines[lines.index("reading") + 1 : lines.index("not installed: others")]
    assert head.split() == ["to", "plain", "ours", "to", "it", "A/A", "bar"]
    assert ours.split("  ")[0] == "ours"
    assert ours.endswith("1.00 [0.90-1.10]  >= 1: met; >= 2: NOT MET")
    assert plain.index("1.00 [0.90-1.10]") == ours.index("1.80 [1.70-1.90]") == head.index("to plain")
    assert theirs.index("9.00 [8.00-9.50]") == head.index("ours to it")
    assert lines[-2:] == ["2 of 3 bars met", "  not met: reading: ours: >= 2"]


def test_a_case_without_a_control_has_no_column_for_it():
    assert "A/A" not in StoreBench("", (WRITING,)).render()
