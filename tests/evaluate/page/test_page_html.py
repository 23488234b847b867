"""The file itself: well-formed, self-contained, and data in it is never more than text."""

import base64
import hashlib
import os
import re
from dataclasses import fields, replace
from html.parser import HTMLParser

import pytest
from jinja2 import UndefinedError

from visual_thought.evaluate.page import html
from visual_thought.evaluate.page.content import Figure, Page, Table, is_number
from visual_thought.evaluate.page.html import SECTIONS, render_page, style_sheet, visible, write_page
from visual_thought.pipeline.errors import MachineError

from .pages import HOSTILE, page, png, table

VOID = {"meta", "link", "img", "input"}


class Reader(HTMLParser):
    """Reads a page tag by tag and fails on one that is not closed in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.words, self.style = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.words.append(data)

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def test_a_page_is_well_formed_and_its_links_lead_to_its_sections():
    read = Reader(render_page(page()))
    ids = [attrs["id"] for _, attrs in read.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    linked = [attrs["href"] for attrs in read.all("a")]
    assert linked
    assert {link.removeprefix("#") for link in linked} <= set(ids)
    labels = {attrs["aria-labelledby"] for _, attrs in read.tags if "aria-labelledby" in attrs}
    assert labels <= set(ids)


def test_a_page_has_landmarks_one_main_heading_a_language_and_words_for_every_picture():
    read = Reader(render_page(page()))
    names = [name for name, _ in read.tags]
    assert [names.count(name) for name in ("main", "nav", "h1", "footer")] == [1, 1, 1, 1]
    assert read.all("html") == [{"lang": "en"}]
    assert all(attrs["alt"] for attrs in read.all("img"))
    assert {attrs["scope"] for attrs in read.all("th")} == {"col", "row"}


def test_nothing_but_pictures_inside_the_file_is_ever_loaded():
    read = Reader(render_page(page()))
    assert {name for name, _ in read.tags}.isdisjoint({"script", "iframe", "object", "embed", "form", "base", "video"})
    for _, attrs in read.tags:
        assert not [name for name in attrs if name.startswith("on") or name in ("style", "srcset", "action")]
        for name in ("src", "href"):
            assert re.match(r"data:image/png;base64,|data:,$|#", attrs.get(name, "#"))
    assert "url(" not in read.style
    assert "@import" not in read.style


def test_the_policy_allows_exactly_the_style_sheet_that_is_there_and_stands_before_it():
    text = render_page(page())
    read = Reader(text)
    said = next(attrs["content"] for attrs in read.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().partition(" ")[::2] for rule in said.split(";"))
    digest = base64.b64encode(hashlib.sha256(read.style.encode()).digest()).decode()
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert text.index("Content-Security-Policy") < text.index("<style>")
    assert "</" not in style_sheet()


@pytest.mark.parametrize("text", HOSTILE)
def test_text_that_would_be_markup_is_the_same_page_with_other_words(text):
    plain, hostile = Reader(render_page(page())), Reader(render_page(page(text)))
    assert [name for name, _ in hostile.tags] == [name for name, _ in plain.tags]
    assert hostile.style == plain.style
    assert [set(attrs) for _, attrs in hostile.tags] == [set(attrs) for _, attrs in plain.tags]
    assert hostile.words.count(text) > 20
    assert text in [attrs["alt"] for attrs in hostile.all("img")]


def test_characters_that_act_are_spelled_out_so_that_any_text_is_a_file():
    assert visible("a\u202eb\x00c\x1b[2J\ud800\n") == "a\\u202eb\\x00c\\x1b[2J\\ud800\n"
    render_page(page("turned \u202e around \ud800")).encode("utf-8")


def test_every_part_of_a_page_is_shown_and_empty_ones_are_left_out():
    assert {field for _, _, field in SECTIONS} < {field.name for field in fields(Page)}
    words = "".join(Reader(render_page(page())).words)
    assert all(heading in words for _, heading, _ in SECTIONS)
    bare = "".join(Reader(render_page(Page("Run", "Nothing else."))).words)
    assert not [heading for _, heading, _ in SECTIONS if heading in bare]
    assert "missing" not in bare


def test_numbers_stand_flush_right_and_the_best_in_bold():
    read = render_page(Page("Run", "", tables=[table()]))
    assert '<th scope="col" class="number">F 0.25</th>' in read
    assert '<td class="number"><strong>0.93</strong></td>' in read
    assert '<th scope="row">head</th>' in read


@pytest.mark.parametrize("text", ["0.93", "-1.5", "6,602", "12.4%", "0.93 ± 0.01", "[0.1, 0.2]", "2 min 5 s", "1.6 MB"])
def test_a_number_is_one_with_its_sign_spread_and_units(text):
    assert is_number(text)


@pytest.mark.parametrize("text", ["head", "", "-", "3 episodes", "1" * 100, "@0.5", "cpu"])
def test_words_are_no_numbers(text):
    assert not is_number(text)


def test_a_ragged_table_and_a_bold_cell_that_is_not_there_are_refused():
    with pytest.raises(ValueError, match="as long as"):
        Table("T", ("a", "b"), [("1",)])
    with pytest.raises(ValueError, match="no such cell"):
        Table("T", ("a",), [("1",)], bold=frozenset({(0, 1)}))


def test_a_picture_keeps_its_size_and_its_bytes(tmp_path):
    (tmp_path / "one.png").write_bytes(png(30, 20))
    (shown,) = Reader(render_page(Page("Run", "", figures=[Figure("T", tmp_path / "one.png", "c", "a")]))).all("img")
    assert (shown["width"], shown["height"]) == ("30", "20")
    assert base64.b64decode(shown["src"].partition(",")[2]) == png(30, 20)


def test_pictures_that_are_gone_or_no_png_are_named_among_what_is_missing(tmp_path):
    (tmp_path / "text.png").write_text("<svg onload=alert(1)>")
    figures = [Figure("Gone", tmp_path / "gone.png", "", "a"), Figure("Text", tmp_path / "text.png", "", "a")]
    read = Reader(render_page(Page("Run", "", figures=figures)))
    assert read.all("img") == []
    told = "".join(read.words)
    assert "“Gone” could not be shown: No such file" in told
    assert "“Text” could not be shown: the file is no PNG" in told


def test_a_name_that_the_template_does_not_know_is_an_error_not_a_gap():
    with pytest.raises(UndefinedError):
        html._template().render(page=page(), sections=[], style="")


def test_a_page_is_written_in_one_step_and_a_failure_leaves_the_old_one(tmp_path):
    path = write_page(page(), tmp_path / "report.html")
    assert os.listdir(tmp_path) == ["report.html"]
    before = path.read_bytes()
    assert before == render_page(page()).encode()
    with pytest.raises(UndefinedError):
        write_page(replace(page(), tables=[object_without_kind()]), path)
    assert (os.listdir(tmp_path), path.read_bytes()) == (["report.html"], before)
    with pytest.raises(MachineError, match="cannot be written"):
        write_page(page(), tmp_path / "nowhere" / "report.html")


def object_without_kind():
    return type("Strange", (), {"title": "T"})()
