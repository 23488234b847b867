"""The page in a real browser; skipped where there is none. Name one with ``VTT_TEST_CHROMIUM``, or put it on PATH."""

import pytest

from visual_thought.evaluate.page.content import Figure, Page, Table
from visual_thought.evaluate.page.html import render_page, write_page

from .chromium import find_chromium, headless
from .pages import BROKEN_OUT, SCRIPT, page, png

BINARY = find_chromium()
pytestmark = pytest.mark.skipif(BINARY is None, reason="no Chromium on PATH and none named by VTT_TEST_CHROMIUM")

DECODED = """Promise.all([...document.images].map(image => image.decode().then(() => image.naturalWidth)))"""


@pytest.fixture(scope="module")
def binary():
    return BINARY


@pytest.fixture
def browser(binary, tmp_path):
    with headless(binary, tmp_path / "profile") as browser:
        yield browser


@pytest.fixture
def opened(browser, tmp_path):
    path = write_page(page(SCRIPT + BROKEN_OUT), tmp_path / "report.html")
    browser.open(path.as_uri())
    return browser, path.as_uri()


def test_the_page_loads_without_a_complaint_or_a_request_and_every_picture_is_decoded(opened):
    browser, address = opened
    assert browser.evaluate(DECODED) == [64, 64, 64]
    assert browser.complaints == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [address]


def test_hostile_text_is_text(opened):
    browser, _ = opened
    assert browser.evaluate("document.title") == SCRIPT + BROKEN_OUT
    assert browser.evaluate("document.querySelector('h1').textContent") == SCRIPT + BROKEN_OUT
    assert browser.evaluate("document.scripts.length") == 0
    assert browser.evaluate("document.querySelectorAll('[onerror]').length") == 0


def test_the_style_sheet_is_applied_and_no_width_makes_the_page_itself_scroll_sideways(opened):
    browser, address = opened
    for width in (320, 390, 768, 1440):
        browser.open(address, width=width)
        assert browser.evaluate("getComputedStyle(document.querySelector('td.number')).textAlign") == "right"
        assert browser.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_what_a_careless_page_would_do_is_forbidden_and_seen(browser, tmp_path):
    careless = '<script>document.title="taken"</script><img src="http://127.0.0.1:9/x.png"><p style="color:red">x</p>'
    path = tmp_path / "careless.html"
    path.write_text(render_page(page("fine")).replace("</main>", f"{careless}</main>"), encoding="utf-8")
    browser.open(path.as_uri())
    assert browser.evaluate("document.title") == "fine"
    assert len([told for told in browser.complaints if "Content Security Policy" in told]) == 3


def test_a_picture_is_shown_at_its_full_size_by_a_click_and_without_a_script(browser, tmp_path):
    wide = Page("Run", "", figures=[Figure("Wide", png(2000, 100), "c", "a")])
    browser.open(write_page(wide, tmp_path / "wide.html").as_uri(), width=390)
    assert browser.evaluate("document.images[0].clientWidth") < 390
    browser.evaluate("document.querySelector('.zoom input').click()")
    assert browser.evaluate("document.images[0].clientWidth") == 2000
    assert browser.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_a_table_of_means_and_intervals_is_shown_whole_on_a_laptop(browser, tmp_path):
    columns = ("contender", "F 0.25", "precision", "recall", "hit", "error px", "false alarm")
    rows = [("instruction blind", *["0.868 ± 0.080"] * 3, "36.4% ± 17.4%", "53.4 ± 42.0", "19.1% ± 39.3%")]
    path = write_page(Page("Run", "", tables=[Table("Over seeds, on test", columns, rows)]), tmp_path / "wide.html")
    browser.open(path.as_uri(), width=1280)
    assert browser.evaluate("(t => t.scrollWidth <= t.clientWidth)(document.querySelector('.scroll'))")
