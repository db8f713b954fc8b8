"""The page of a compressed model in a real browser: a mouse, a keyboard, a phone, and names that are attacks."""

import pytest

from browser import CHROMIUM, browser
from pages import answers, evidence, history, mask, scores
from sensibert.report.page.model import model_page
from sensibert.report.page.render import write_page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

ATTACKS = ["<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "</style></svg><b>bold</b>", "{{ 7 * 7 }}"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    found = evidence(labels=[*ATTACKS, "a" * 400], backbone=ATTACKS[0], task=ATTACKS[1])
    histories = {"dense": history(), "slim": history()}
    write_page(model_page(found, mask(), answers(classes=5), histories, scores()), path)
    return path


def names(shown):
    """The first column of the table of alternatives, without the tags."""
    rows = "document.querySelectorAll('#alternatives tbody tr:not([hidden]) > th')"
    return shown.ask(f"[...{rows}].map((cell) => cell.firstChild.textContent.trim())")


def order(shown, column):
    return shown.ask(f"document.querySelector('#alternatives thead th:nth-child({column})').getAttribute('aria-sort')")


def test_it_asks_for_nothing_and_has_nothing_to_complain_about(shown, page):
    shown.open(page)
    assert shown.ask("document.querySelectorAll('svg.chart').length") == 7
    assert shown.complaints == []


def test_names_stay_text(shown, page):
    shown.open(page)
    text = shown.ask("document.body.innerText")
    assert all(attack in text for attack in ATTACKS)
    assert shown.ask("document.querySelectorAll('script').length") == 1
    assert shown.ask("document.querySelectorAll('img, b').length") == 0
    assert shown.ask("document.querySelector('h1').textContent").startswith(ATTACKS[0])


def test_a_script_that_got_in_would_not_run(shown, page, tmp_path):
    bad = page.read_text(encoding="utf-8").replace("<main>", "<main><script>window.ran = true</script>")
    (tmp_path / "bad.html").write_text(bad, encoding="utf-8")
    shown.open(tmp_path / "bad.html")
    assert shown.ask("window.ran === undefined")
    assert any("Content Security Policy" in complaint for complaint in shown.complaints)


def test_a_click_sorts_by_a_column_and_another_one_turns_it(shown, page):
    shown.open(page)
    assert names(shown) == ["dense", "slim 9", "slim 10"]
    shown.click("#alternatives thead th:nth-child(5) button")  # latency: the best is the lowest
    assert (names(shown), order(shown, 5)) == (["slim 10", "slim 9", "dense"], "ascending")
    shown.click("#alternatives thead th:nth-child(3) button")  # accuracy: the best is the highest
    assert (names(shown), order(shown, 3)) == (["dense", "slim 9", "slim 10"], "descending")
    assert order(shown, 5) == "none"
    shown.click("#alternatives thead th:nth-child(3) button")
    assert (names(shown), order(shown, 3)) == (["slim 10", "slim 9", "dense"], "ascending")


def test_numbers_sort_by_size_and_words_by_letters(shown, page):
    shown.open(page)
    shown.click("#alternatives thead th:nth-child(7) button")  # 16, 60 and 110 MB
    assert names(shown) == ["slim 10", "slim 9", "dense"]
    shown.click("#alternatives thead th:nth-child(1) button")
    assert names(shown) == ["dense", "slim 10", "slim 9"]


@pytest.mark.parametrize("key", ["Enter", " "])
def test_the_keyboard_sorts_too(shown, page, key):
    shown.open(page)
    shown.ask("document.querySelector('#alternatives thead th:nth-child(4) button').focus()")
    shown.press("Tab")  # to the latency
    shown.press(key)
    assert (names(shown), order(shown, 5)) == (["slim 10", "slim 9", "dense"], "ascending")


def test_rows_can_be_looked_for_and_chosen(shown, page):
    shown.open(page)
    shown.ask("document.querySelector('#alternatives input').focus()")
    shown.type("SLIM")
    assert names(shown) == ["slim 9", "slim 10"]
    assert shown.ask("document.querySelector('#alternatives output').textContent") == "2 of 3 rows"
    shown.ask(
        "((menu) => {menu.value = 'yes'; menu.dispatchEvent(new Event('input', {bubbles: true}))})"
        "(document.querySelector('#alternatives select'))"
    )
    assert names(shown) == []  # only the dense model is beaten


@pytest.mark.parametrize("width", [320, 375, 1200])
def test_the_page_never_scrolls_sideways(shown, page, width):
    shown.open(page, width=width)
    assert shown.ask("document.documentElement.scrollWidth") <= width
    assert shown.ask("[...document.querySelectorAll('.scroll')].every((box) => box.clientWidth <= innerWidth)")


def test_a_dark_page_for_who_wants_one(shown, page):
    lightness = (
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((sum, part) => sum + Number(part), 0)"
    )
    shown.open(page, scheme="light")
    assert shown.ask(lightness) > 700
    shown.open(page, scheme="dark")
    assert shown.ask(lightness) < 100
